using System.Buffers.Binary;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Resizing;

/// <summary>
/// Resizes an image's bitmaps: their tables must match the disk size exactly. Bits past the new end are dropped; a last granule that is cut
/// keeps its bit.
/// </summary>
/// <remarks>
/// Added space becomes dirty in recording bitmaps, in the same switch. The disk may have been longer at the checkpoint, and what was there
/// now reads as zeros that no guest wrote and no bitmap recorded; or a longer backing image has data there. QEMU leaves new bits clean.
/// </remarks>
internal sealed class BitmapResize(ImageHandle image, long newSize)
{
    // Offsets in a directory entry: the number of table entries, and the sizes from which the entry's length follows.
    private const int TableEntriesField = sizeof(ulong);
    private const int NameSizeField = 18;
    private const int ExtraDataSizeField = 20;
    private const int FixedBytes = 24;

    private readonly ImageStorage _storage = image.Storage;
    private readonly ImageGeometry _geometry = image.Geometry;
    private readonly IReadOnlyList<BitmapInfo> _bitmaps = image.Header.AutoclearFeatures.HasFlag(AutoclearFeatures.Bitmaps)
        ? image.Contents.Bitmaps.Bitmaps
        : [];

    /// <summary>Throws if the image has bitmaps that cannot be resized.</summary>
    /// <exception cref="BitmapStateException">A bitmap is inconsistent.</exception>
    /// <exception cref="Qcow2FormatException">A bitmap, or the directory, is broken.</exception>
    public void Check()
    {
        foreach (BitmapInfo bitmap in _bitmaps)
        {
            if (bitmap.Faults.Count > 0)
            {
                throw new Qcow2FormatException(bitmap.Faults[0], image.Name);
            }

            if (bitmap.State == BitmapState.Inconsistent)
            {
                throw new BitmapStateException(
                    bitmap.Name,
                    $"Bitmap '{bitmap.Name}' is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this bitmap from "
                    + $"disk");
            }
        }

        if (_bitmaps.Count > 0 && !image.Contents.Bitmaps.IsComplete)
        {
            throw new BitmapStateException(
                "", $"'{image.Name}': the bitmap directory cannot be read to its end; broken entries are to be dropped first");
        }
    }

    /// <summary>Refuses a size at which a bitmap would have more bits than QEMU opens. QEMU resizes and loses the bitmap.</summary>
    /// <exception cref="BitmapStateException">A bitmap would be too large.</exception>
    public void RequireRoom()
    {
        foreach (BitmapInfo bitmap in _bitmaps)
        {
            long pages = GeometryOf(bitmap, newSize).PageCount;
            if (pages > Math.Min(image.Limits.MaxBitmapTableEntries, image.Limits.MaxBitmapBytes >> _geometry.ClusterBits))
            {
                throw new BitmapStateException(
                    bitmap.Name,
                    $"Bitmap '{bitmap.Name}' doesn't satisfy the constraints: Too much space will be occupied by the bitmap. "
                    + $"Use larger granularity");
            }
        }
    }

    /// <summary>Writes changed structures to free clusters, and sets what the header will refer to.</summary>
    public async ValueTask PrepareAsync(ShadowRefcounts counts, HeaderChange update, CancellationToken cancellationToken)
    {
        if (_bitmaps.Count == 0 || image.Contents.First.Bitmaps is not { } extension || newSize == image.Geometry.VirtualSizeBytes)
        {
            return;
        }

        var directory = new byte[extension.DirectorySizeBytes];
        await _storage.ReadZeroFilledAsync((long)extension.DirectoryOffset, directory, cancellationToken).ConfigureAwait(false);
        bool isChanged = false;
        int at = 0;
        foreach (BitmapInfo bitmap in _bitmaps)
        {
            await counts.TrimAsync(cancellationToken).ConfigureAwait(false);
            if (await ResizeAsync(bitmap, counts, cancellationToken).ConfigureAwait(false) is { } table)
            {
                byte[] bytes = BigEndianTable.BytesOf(table);
                HostOffset offset = await counts.AllocateAsync(bytes.Length, cancellationToken).ConfigureAwait(false);
                await WholeClusters.WriteAsync(_storage, image.Geometry, offset, bytes, cancellationToken).ConfigureAwait(false);
                await counts.FreeAsync(bitmap.TableOffset, bitmap.TableBytes, cancellationToken).ConfigureAwait(false);
                BinaryPrimitives.WriteUInt64BigEndian(directory.AsSpan(at), offset.Raw);
                BinaryPrimitives.WriteUInt32BigEndian(directory.AsSpan(at + TableEntriesField), (uint)table.Length);
                isChanged = true;
            }

            int names = BinaryPrimitives.ReadUInt16BigEndian(directory.AsSpan(at + NameSizeField))
                + (int)BinaryPrimitives.ReadUInt32BigEndian(directory.AsSpan(at + ExtraDataSizeField));
            at += (FixedBytes + names + 7) & ~7;
        }

        if (isChanged)
        {
            HostOffset offset = await counts.AllocateAsync(directory.Length, cancellationToken).ConfigureAwait(false);
            await WholeClusters.WriteAsync(_storage, image.Geometry, offset, directory, cancellationToken).ConfigureAwait(false);
            await counts.FreeAsync(extension.DirectoryOffset, image.Contents.Bitmaps.OwnedBytes, cancellationToken).ConfigureAwait(false);
            update.SetBitmaps(extension with { DirectoryOffset = offset.Raw });
        }
    }

    /// <summary>Makes the table of a bitmap for the new disk; all pages except the last common one are kept.</summary>
    /// <returns>The table; null when the stored one fits.</returns>
    private async ValueTask<ulong[]?> ResizeAsync(BitmapInfo bitmap, ShadowRefcounts counts, CancellationToken cancellationToken)
    {
        PersistentBitmap stored = await PersistentBitmap.OpenAsync(image, bitmap, image.NewLog(), cancellationToken).ConfigureAwait(false);
        var old = BitmapGeometry.Of(stored);
        BitmapGeometry now = GeometryOf(bitmap, newSize);
        bool isMarked = bitmap.State == BitmapState.Recording && newSize > image.Geometry.VirtualSizeBytes;
        long markStart = isMarked ? image.Geometry.VirtualSizeBytes >> BitmapGranularity.BitsOf(bitmap.GranularityBytes) : 0;
        long markEnd = isMarked ? ImageGeometry.DivideRoundingUp(newSize, bitmap.GranularityBytes) : 0;
        if (old.BitCount == now.BitCount && !isMarked)
        {
            return null;
        }

        var table = new ulong[now.PageCount];
        int common = (int)Math.Min(old.PageCount, now.PageCount);
        for (int page = 0; page < common; page++)
        {
            table[page] = stored.EntryOf(page).Raw;
        }

        for (int page = common; page < old.PageCount; page++)
        {
            await FreePageAsync(stored.EntryOf(page), counts, cancellationToken).ConfigureAwait(false);
        }

        bool isChanged = old.PageCount != now.PageCount;
        for (int page = Math.Max(0, common - 1); page < now.PageCount; page++)
        {
            long first = now.FirstBit(page);
            int from = (int)Math.Clamp(markStart - first, 0, now.BitsIn(page));
            int to = (int)Math.Clamp(markEnd - first, from, now.BitsIn(page));
            bool isCut = page < common && old.BitsIn(page) != now.BitsIn(page) && stored.KindOf(page) != BitmapPageKind.AllClean;
            if (isCut || from < to)
            {
                ulong entry = await MakePageAsync(stored, page, now, from..to, counts, cancellationToken).ConfigureAwait(false);
                isChanged |= entry != table[page];
                table[page] = entry;
            }
        }

        return isChanged ? table : null;
    }

    /// <summary>Makes a page of the new table: what the old one has of it, with some bits set.</summary>
    private async ValueTask<ulong> MakePageAsync(
        PersistentBitmap stored, int page, BitmapGeometry now, Range marked, ShadowRefcounts counts, CancellationToken cancellationToken)
    {
        var old = BitmapGeometry.Of(stored);
        BitmapPageKind kind = page < old.PageCount ? stored.KindOf(page) : BitmapPageKind.AllClean;
        int bits = page < old.PageCount ? Math.Min(old.BitsIn(page), now.BitsIn(page)) : 0;
        var words = new ulong[_geometry.ClusterSizeBytes / sizeof(ulong)];
        if (kind == BitmapPageKind.AllDirty)
        {
            BitKernels.Fill(words, 0, bits, true);
        }
        else if (kind == BitmapPageKind.Bits)
        {
            await stored.ReadPageAsync(page, words.AsMemory(0, old.WordsIn(page)), cancellationToken).ConfigureAwait(false);
            BitKernels.Fill(words, bits, words.Length * 64, false);
        }

        BitKernels.Fill(words, marked.Start.Value, marked.End.Value, true);
        if (page < old.PageCount)
        {
            await FreePageAsync(stored.EntryOf(page), counts, cancellationToken).ConfigureAwait(false);
        }

        if (BitKernels.IsAll(words, 0))
        {
            return BitmapTableEntry.AllZeroes.Raw;
        }

        // QEMU applies such an entry to all bits up to the next multiple of 64, even past the disk's end.
        if ((now.BitsIn(page) & 63) == 0 && BitKernels.IsAll(words.AsSpan(0, now.WordsIn(page)), ulong.MaxValue))
        {
            return BitmapTableEntry.AllOnes.Raw;
        }

        LittleEndianWords.ToHostOrder(words);
        HostOffset offset = await counts.AllocateAsync(_geometry.ClusterSizeBytes, cancellationToken).ConfigureAwait(false);
        using var bytes = new WordBytes(words);
        await _storage.WriteAsync(offset.Bytes, bytes.Memory, cancellationToken).ConfigureAwait(false);
        return BitmapTableEntry.AtOffset(offset.Raw).Raw;
    }

    private ValueTask FreePageAsync(BitmapTableEntry entry, ShadowRefcounts counts, CancellationToken cancellationToken) => entry.HasData
        ? counts.FreeAsync(entry.Offset, _geometry.ClusterSizeBytes, cancellationToken)
        : ValueTask.CompletedTask;

    private BitmapGeometry GeometryOf(BitmapInfo bitmap, long sizeBytes) =>
        new(sizeBytes, BitmapGranularity.BitsOf(bitmap.GranularityBytes), _geometry.ClusterBits + 3);
}
