using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.State;

/// <summary>Reads the bitmap directory: the only thing that opening an image reads of its bitmaps.</summary>
internal sealed class BitmapDirectoryReader(FirstCluster first, ImageGeometry geometry, Qcow2Limits limits, FaultLog log)
{
    private const string Structure = "bitmap directory";

    private readonly List<BitmapInfo> _bitmaps = [];
    private readonly HashSet<string> _names = new(StringComparer.Ordinal);

    /// <summary>Whether the directory was read to its end and matches the extension. Always true for a reader as strict as QEMU.</summary>
    public bool IsComplete { get; private set; } = true;

    /// <summary>See <see cref="BitmapDirectory.OwnedBytes"/>.</summary>
    public long OwnedBytes { get; private set; }

    /// <summary>See <see cref="BitmapDirectory.ReachedBytes"/>.</summary>
    public long ReachedBytes { get; private set; }

    public async ValueTask<IReadOnlyList<BitmapInfo>> ReadAsync(ImageStorage storage, CancellationToken cancellationToken)
    {
        if (first.Bitmaps is not { } extension)
        {
            if (first.Header.AutoclearFeatures.HasFlag(AutoclearFeatures.Bitmaps)
                && !first.Extensions.Exists(static e => e.Type == HeaderExtensionType.Bitmaps))
            {
                log.Note(Faults.OfHex(
                    FaultCode.BitmapsExtensionMissing, "header", "autoclear_features", HeaderLayout.AutoclearFeatures,
                    (ulong)first.Header.AutoclearFeatures, "bit 0 clear, as there is no bitmaps extension"));
            }

            IsComplete = !log.IsLenient || !first.Extensions.Exists(static e => e.Type == HeaderExtensionType.Bitmaps);
            return _bitmaps;
        }

        // The size is what the image claims; the file may be much shorter.
        ReachedBytes = (long)extension.DirectorySizeBytes;
        long offset = (long)extension.DirectoryOffset;
        int size = (int)Math.Min((long)extension.DirectorySizeBytes, Math.Max(storage.Length - offset, 0));
        var directory = new byte[size];
        size = await storage.ReadAsync(offset, directory, cancellationToken).ConfigureAwait(false);
        if ((ulong)size < extension.DirectorySizeBytes)
        {
            IsComplete = false;
            log.Report(Faults.Of(
                FaultCode.BitmapDirectoryTruncated, Structure, "bytes up to the file's end", extension.DirectoryOffset, size,
                $"{extension.DirectorySizeBytes} bytes, as the extension says"));
        }

        ReadEntries(directory.AsSpan(0, size), extension);
        return _bitmaps;
    }

    private void ReadEntries(ReadOnlySpan<byte> directory, BitmapsExtension extension)
    {
        int position = 0;
        while (position < directory.Length)
        {
            ulong offset = extension.DirectoryOffset + (ulong)position;
            if (!BitmapDirectoryEntry.TryRead(directory[position..], out BitmapDirectoryEntry entry))
            {
                IsComplete = false;
                log.Report(Faults.Of(
                    FaultCode.BitmapDirectoryBroken, $"{Structure} entry {_bitmaps.Count}", "size", offset, directory.Length - position,
                    "a whole entry: what is left does not hold the one that starts here"));
                break;
            }

            bool isTooMany = (uint)_bitmaps.Count >= extension.BitmapCount;
            if ((uint)_bitmaps.Count == extension.BitmapCount)
            {
                IsComplete = false;
                ReportCount(extension, "more");
            }

            if (isTooMany && entry.CheckFaults(_bitmaps.Count, offset, geometry, limits).Count > 0)
            {
                // Not a removed bitmap, but arbitrary bytes.
                break;
            }

            if (_bitmaps.Count >= limits.MaxBitmaps)
            {
                IsComplete = false;
                break;
            }

            Add(entry, offset, isTooMany ? CountFault(extension, "more") : null);
            position += entry.SizeBytes;
            OwnedBytes = _bitmaps[^1].Faults.Count == 0 ? position : OwnedBytes;
            ReachedBytes = (uint)_bitmaps.Count == extension.BitmapCount ? position : ReachedBytes;
        }

        if ((uint)_bitmaps.Count < extension.BitmapCount)
        {
            IsComplete = false;
            ReportCount(extension, _bitmaps.Count.ToString(System.Globalization.CultureInfo.InvariantCulture));
        }
    }

    private void ReportCount(BitmapsExtension extension, string found) => log.Report(CountFault(extension, found));

    private static FormatFault CountFault(BitmapsExtension extension, string found) => new(
        FaultCode.BitmapDirectoryCount, Structure, "number of bitmaps", extension.DirectoryOffset, found,
        $"{extension.BitmapCount}, as the extension says");

    /// <summary>
    /// Adds a bitmap, except an entry beyond the extension's count: with an outdated size, entries of an earlier directory may follow,
    /// whose bits lack later changes.
    /// </summary>
    private void Add(BitmapDirectoryEntry entry, ulong offset, FormatFault? tooMany)
    {
        int index = _bitmaps.Count;
        string name = ImageText.DecodeUpToNul(entry.Name);
        ulong nameOffset = offset + BitmapDirectoryEntry.FixedBytes + (ulong)entry.ExtraData.Length;
        IReadOnlyList<FormatFault> faults = entry.CheckFaults(index, offset, geometry, limits);
        bool isInUse = entry.Flags.HasFlag(BitmapFlags.InUse);
        // QEMU skips a second bitmap with the same name if it is in use.
        if (!_names.Add(name) && (!isInUse || log.IsLenient))
        {
            faults = [
                .. faults,
                new FormatFault(
                    FaultCode.BitmapDuplicateName, entry.Describe(index), "name", nameOffset, "that of an earlier bitmap",
                    "a name of its own"),
            ];
        }

        log.ReportAll(faults);
        faults = tooMany is null ? faults : [.. faults, tooMany];
        NoteOddities(entry, nameOffset, name);
        bool isIgnoredByQemu = !first.Header.AutoclearFeatures.HasFlag(AutoclearFeatures.Bitmaps);
        _bitmaps.Add(new BitmapInfo
        {
            Index = index,
            Name = name,
            GranularityBytes = entry.GranularityBits < 63 ? 1L << entry.GranularityBits : 0,
            Flags = entry.Flags,
            State = isInUse || isIgnoredByQemu
                ? BitmapState.Inconsistent
                : entry.Flags.HasFlag(BitmapFlags.Auto) ? BitmapState.Recording : BitmapState.Disabled,
            TableOffset = entry.TableOffset,
            TableEntries = entry.TableEntries,
            Faults = faults,
        });
    }

    /// <summary>Notes what the specification forbids but QEMU ignores.</summary>
    private void NoteOddities(BitmapDirectoryEntry entry, ulong nameOffset, string name)
    {
        string? oddity = entry.Name.IsEmpty ? "empty"
            : entry.Name.Contains((byte)0) ? "one with a NUL"
            : ImageText.HasInvalidBytes(name) ? "not UTF-8"
            : null;
        if (oddity is not null)
        {
            log.Note(
                new FormatFault(
                    FaultCode.BitmapName, entry.Describe(_bitmaps.Count), "name", nameOffset, oddity, "1 to 1023 bytes of UTF-8"));
        }

        if (entry.Padding.ContainsAnyExcept((byte)0))
        {
            log.Note(
                new FormatFault(
                    FaultCode.BitmapPadding, entry.Describe(_bitmaps.Count), "padding", nameOffset + (ulong)entry.Name.Length, "not zero",
                    "zeros"));
        }
    }
}
