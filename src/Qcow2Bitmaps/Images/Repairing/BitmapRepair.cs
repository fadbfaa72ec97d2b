using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Images.Editing;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Repairing;

/// <summary>Repairs bitmap faults that keep QEMU from opening an image.</summary>
/// <remarks>
/// Doubtful bits become dirty: an extra dirty bit costs a copy, a missing one loses a change. Invalid directory entries are dropped; their
/// clusters become leaks. All of that is one atomic edit. The broken entries of an inconsistent bitmap, whose bits are never read, become
/// all dirty in place. What another structure also uses is neither written nor freed.
/// </remarks>
internal sealed class BitmapRepair(ImageHandle image, FindingLog log)
{
    private readonly ImageStorage _storage = image.Storage;
    private readonly ImageGeometry _geometry = image.Geometry;
    // Ranges to mark as dirty; those of one bitmap follow one another, and do not touch.
    private readonly List<(string Bitmap, long StartBytes, long EndBytes)> _doubtful = [];
    // Tables that are done with, and what decides that: many bitmaps may share one.
    private readonly HashSet<(ulong Offset, uint Entries, long GranularityBytes, bool IsInUse)> _settled = [];
    // How many bytes of tables may still be written anew.
    private long _rewritableBytes = EditPlan.RewritableTableBytes(image);
    // Counted when something must be written.
    private ClusterUses? _uses;

    /// <summary>Repairs.</summary>
    /// <exception cref="Qcow2Exception">The image cannot be written: it is otherwise corrupt, or has too little space.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask RunAsync(CancellationToken cancellationToken)
    {
        bool isPublished = image.Header.AutoclearFeatures.HasFlag(AutoclearFeatures.Bitmaps);
        bool hasExtension = image.Contents.First.Extensions.Any(static extension => extension.Type == HeaderExtensionType.Bitmaps);
        if (isPublished != hasExtension)
        {
            await WithdrawAsync(hasExtension, cancellationToken).ConfigureAwait(false);
            return;
        }

        if (!isPublished)
        {
            return;
        }

        bool dropsBroken = false;
        foreach (FormatFault fault in image.Contents.Findings.Where(ImageChecker.IsHarmful))
        {
            log.FixCorruption($"Repairing {fault}");
            dropsBroken = true;
        }

        var names = image.Contents.Bitmaps.Bitmaps.GroupBy(static bitmap => bitmap.Name, StringComparer.Ordinal)
            .Where(static group => group.Count() == 1)
            .Select(static group => group.Key)
            .ToHashSet(StringComparer.Ordinal);
        foreach (BitmapInfo bitmap
            in image.Contents.Bitmaps.Bitmaps.Where(bitmap => bitmap.Faults.Count == 0 && names.Contains(bitmap.Name)))
        {
            await MendTableAsync(bitmap, cancellationToken).ConfigureAwait(false);
        }

        if (dropsBroken || _doubtful.Count > 0)
        {
            await BitmapEditing.RunAloneAsync(
                image, (plan, token) => ApplyAsync(plan, dropsBroken, token), cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask ApplyAsync(EditPlan plan, bool dropsBroken, CancellationToken cancellationToken)
    {
        await KeepSharedAsync(plan, cancellationToken).ConfigureAwait(false);
        if (dropsBroken)
        {
            plan.DropBroken();
        }

        foreach ((string bitmap, long start, long end) in _doubtful)
        {
            await plan.FillAsync(bitmap, start, end - start, true, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask<bool> MayBeSharedAsync(ulong offset, long lengthBytes, CancellationToken cancellationToken)
    {
        _uses ??= await ImageChecker.CountUsesAsync(image, cancellationToken).ConfigureAwait(false);
        return _uses.MayBeShared(offset, lengthBytes);
    }

    /// <summary>Keeps the edit from freeing what something else also uses: the reference count may not show it.</summary>
    private async ValueTask KeepSharedAsync(EditPlan plan, CancellationToken cancellationToken)
    {
        if (image.Contents.First.Bitmaps is { } directory && image.Contents.Bitmaps.OwnedBytes > 0)
        {
            await KeepAsync(directory.DirectoryOffset, image.Contents.Bitmaps.OwnedBytes).ConfigureAwait(false);
        }

        // Each table once, however many bitmaps share it.
        foreach (BitmapInfo bitmap in image.Contents.Bitmaps.Bitmaps
            .Where(static bitmap => bitmap is { Faults.Count: 0, TableEntries: > 0, TableOffset: <= Faults.MaxOffset })
            .GroupBy(static bitmap => bitmap.TableOffset, static (_, sharing) => sharing.MaxBy(static bitmap => bitmap.TableEntries)!))
        {
            await KeepAsync(bitmap.TableOffset, bitmap.TableBytes).ConfigureAwait(false);
            foreach (ulong raw in await ReadTableAsync(bitmap, cancellationToken).ConfigureAwait(false))
            {
                var entry = new BitmapTableEntry(raw);
                if (entry.HasData && entry.Check(_geometry.ClusterBits) == FaultCode.None)
                {
                    await KeepAsync(entry.Offset, _geometry.ClusterSizeBytes).ConfigureAwait(false);
                }
            }
        }

        async ValueTask KeepAsync(ulong offset, long lengthBytes)
        {
            if (await MayBeSharedAsync(offset, lengthBytes, cancellationToken).ConfigureAwait(false))
            {
                plan.Kept.Add((offset, lengthBytes));
            }
        }
    }

    private ValueTask<ulong[]> ReadTableAsync(BitmapInfo bitmap, CancellationToken cancellationToken) =>
        BigEndianTable.ReadAsync(_storage, bitmap.TableOffset, bitmap.TableEntries, cancellationToken);

    /// <summary>Removes an extension that all readers ignore, or an autoclear bit without an extension.</summary>
    private async ValueTask WithdrawAsync(bool hasExtension, CancellationToken cancellationToken)
    {
        if (hasExtension)
        {
            log.FixCorruption(
                $"Repairing bitmaps extension without autoclear bit 0: its bitmaps were ignored while somebody wrote, they are dropped");
        }
        else
        {
            log.FixCorruption($"Repairing autoclear bit 0 without bitmaps extension");
        }

        SwitchPlan plan = await new HeaderChange().SetBitmaps(null).PlanAsync(
            _storage, image.Header, cancellationToken).ConfigureAwait(false);
        await plan.ApplyAsync(_storage).ConfigureAwait(false);
    }

    private async ValueTask MendTableAsync(BitmapInfo bitmap, CancellationToken cancellationToken)
    {
        bool isInUse = bitmap.Flags.HasFlag(BitmapFlags.InUse);
        (ulong, uint, long, bool) key = (bitmap.TableOffset, bitmap.TableEntries, bitmap.GranularityBytes, isInUse);
        if (_settled.Contains(key))
        {
            return;
        }

        ulong[] table = await ReadTableAsync(bitmap, cancellationToken).ConfigureAwait(false);
        bool isSound = true;
        long pageBytes = _geometry.BitsPerBitmapCluster * bitmap.GranularityBytes;
        for (int i = 0; i < bitmap.TableEntries; i++)
        {
            bool isLost = i >= table.Length;
            var entry = new BitmapTableEntry(isLost ? 0 : table[i]);
            bool isBroken = !isLost && entry.Check(_geometry.ClusterBits) != FaultCode.None;
            bool isBehindEnd = !isBroken && entry.HasData && entry.Offset >= (ulong)_storage.Length;
            if (isInUse ? !isBroken : !isLost && !isBroken && !isBehindEnd)
            {
                continue;
            }

            if (!isInUse && isSound && (_rewritableBytes -= bitmap.TableBytes) < 0)
            {
                log.Say(
                    $"Bitmap '{bitmap.Name}' is not repaired, nor any other with its table: "
                    + $"tables overlap, together they are longer than the file");
                _settled.Add(key);
                return;
            }

            isSound = false;
            if (isInUse && await MayBeSharedAsync(bitmap.TableOffset, bitmap.TableBytes, cancellationToken).ConfigureAwait(false))
            {
                log.Say(
                    $"Bitmap '{bitmap.Name}' is not repaired, nor any other with its table: "
                    + $"something else may use the clusters of its table too");
                _settled.Add(key);
                return;
            }

            log.FixCorruption(
                $"Repairing bitmap '{bitmap.Name}': table entry {i} (0x{entry.Raw:x}) "
                + $"{(isBroken ? "is not allowed" : "lies behind the file's end")}, its range is made dirty");
            if (isInUse)
            {
                var bytes = new byte[ImageGeometry.TableEntryBytes];
                BinaryPrimitives.WriteUInt64BigEndian(bytes, BitmapTableEntry.AllOnes.Raw);
                await _storage.WriteAsync(
                    (long)ImageGeometry.EntryOffset(bitmap.TableOffset, i), bytes, CancellationToken.None).ConfigureAwait(false);
                await _storage.FlushAsync(CancellationToken.None).ConfigureAwait(false);
            }
            else
            {
                AddDoubtful(bitmap.Name, i * pageBytes, Math.Min((i + 1) * pageBytes, _geometry.VirtualSizeBytes));
            }
        }

        if (!isInUse)
        {
            await ClearTailAsync(bitmap, table, cancellationToken).ConfigureAwait(false);
        }

        if (isSound)
        {
            _settled.Add(key);
        }
    }

    private void AddDoubtful(string bitmap, long start, long end)
    {
        if (_doubtful.Count > 0 && _doubtful[^1].EndBytes == start && string.Equals(_doubtful[^1].Bitmap, bitmap, StringComparison.Ordinal))
        {
            _doubtful[^1] = (bitmap, _doubtful[^1].StartBytes, end);
        }
        else
        {
            _doubtful.Add((bitmap, start, end));
        }
    }

    /// <summary>Clears the bits past the disk's end, one byte at a time.</summary>
    private async ValueTask ClearTailAsync(BitmapInfo bitmap, ulong[] table, CancellationToken cancellationToken)
    {
        long bits = _geometry.BitmapBits(System.Numerics.BitOperations.Log2((ulong)bitmap.GranularityBytes));
        long used = bits - ((table.Length - 1) * _geometry.BitsPerBitmapCluster);
        var entry = new BitmapTableEntry(table.Length == bitmap.TableEntries ? table[^1] : 0);
        if (!entry.HasData || entry.Check(_geometry.ClusterBits) != FaultCode.None || used >= _geometry.BitsPerBitmapCluster)
        {
            return;
        }

        int firstByte = (int)(used >> 3);
        var bytes = new byte[_geometry.ClusterSizeBytes - firstByte];
        int read = await _storage.ReadAsync((long)entry.Offset + firstByte, bytes, cancellationToken).ConfigureAwait(false);
        var kept = new byte[read];
        if (read > 0)
        {
            kept[0] = (byte)(bytes[0] & ((1 << (int)(used & 7)) - 1));
        }

        if (bytes.AsSpan(0, read).SequenceEqual(kept))
        {
            return;
        }

        if (await MayBeSharedAsync(entry.Offset, _geometry.ClusterSizeBytes, cancellationToken).ConfigureAwait(false))
        {
            log.Say(
                $"Bitmap '{bitmap.Name}' is not repaired: bits are set behind the disk's end, "
                + $"but something else may use their cluster too");
        }
        else
        {
            log.FixCorruption($"Repairing bitmap '{bitmap.Name}': bits are set behind the disk's end");
            await _storage.WriteAsync((long)entry.Offset + firstByte, kept, CancellationToken.None).ConfigureAwait(false);
            await _storage.FlushAsync(CancellationToken.None).ConfigureAwait(false);
        }
    }
}
