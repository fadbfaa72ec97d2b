namespace Qcow2Bitmaps.Copying;

/// <summary>Compares two disks.</summary>
internal sealed class DiskComparer(Disk first, Disk second, bool strict, IProgress<OperationProgress>? progress)
{
    private const int BufferBytes = 2 << 20;
    private const int SectorBytes = 512;

    private readonly long _totalBytes = Math.Max(first.CheckedSizeBytes, second.CheckedSizeBytes);
    private readonly byte[] _firstBytes = GC.AllocateUninitializedArray<byte>(BufferBytes);
    private readonly byte[] _secondBytes = GC.AllocateUninitializedArray<byte>(BufferBytes);

    public async ValueTask<ImageComparison> RunAsync(CancellationToken cancellationToken)
    {
        bool sizesDiffer = first.SizeBytes != second.SizeBytes;
        if (strict && sizesDiffer)
        {
            return new ImageComparison(ComparisonOutcome.SizesDiffer, 0, sizesDiffer: true);
        }

        var firstCursor = new DiskCursor(first);
        var secondCursor = new DiskCursor(second);
        long common = Math.Min(first.SizeBytes, second.SizeBytes);
        for (long at = 0; at < common;)
        {
            DiskExtent one = await firstCursor.GoToAsync(at, cancellationToken).ConfigureAwait(false);
            DiskExtent other = await secondCursor.GoToAsync(at, cancellationToken).ConfigureAwait(false);
            if (strict)
            {
                (one, BlockStatus oneStatus) = StrictStatus.Of(first, one);
                (other, BlockStatus otherStatus) = StrictStatus.Of(second, other);
                if (oneStatus != otherStatus)
                {
                    return new ImageComparison(ComparisonOutcome.StatusDiffers, at, sizesDiffer: false);
                }
            }

            long length = Math.Min(common, Math.Min(one.EndBytes, other.EndBytes)) - at;
            if (!(one.IsZero && other.IsZero))
            {
                length = Math.Min(length, BufferBytes);
                if (!first.IsSamePlace(one, second, other)
                    && await FindDifferenceAsync(one, other, (int)length, cancellationToken).ConfigureAwait(false) is { } difference)
                {
                    return new ImageComparison(ComparisonOutcome.ContentDiffers, at + difference, sizesDiffer: false);
                }
            }

            at += length;
            progress?.Report(new OperationProgress(at, _totalBytes));
        }

        return sizesDiffer
            ? await CheckRestAsync(common, cancellationToken).ConfigureAwait(false)
            : new ImageComparison(ComparisonOutcome.Identical, 0, sizesDiffer: false);
    }

    /// <summary>Checks that the longer disk contains only zeros beyond the end of the shorter one.</summary>
    private async ValueTask<ImageComparison> CheckRestAsync(long start, CancellationToken cancellationToken)
    {
        Disk longer = first.SizeBytes > second.SizeBytes ? first : second;
        var cursor = new DiskCursor(longer);
        for (long at = start; at < longer.SizeBytes;)
        {
            DiskExtent extent = await cursor.GoToAsync(at, cancellationToken).ConfigureAwait(false);
            if (!extent.IsZero)
            {
                extent = extent.Slice(at, Math.Min(extent.LengthBytes, BufferBytes));
                Memory<byte> bytes = _firstBytes.AsMemory(0, (int)extent.LengthBytes);
                await longer.ReadAsync(extent, bytes, cancellationToken).ConfigureAwait(false);
                int found = bytes.Span.IndexOfAnyExcept((byte)0);
                if (found >= 0)
                {
                    return new ImageComparison(ComparisonOutcome.ContentDiffers, at + StartOfSector(found), sizesDiffer: true);
                }
            }

            at = extent.EndBytes;
            progress?.Report(new OperationProgress(at, _totalBytes));
        }

        return new ImageComparison(ComparisonOutcome.Identical, 0, sizesDiffer: true);
    }

    private async ValueTask<int?> FindDifferenceAsync(DiskExtent one, DiskExtent other, int length, CancellationToken cancellationToken)
    {
        Memory<byte> oneBytes = _firstBytes.AsMemory(0, length);
        Memory<byte> otherBytes = _secondBytes.AsMemory(0, length);
        await first.ReadAsync(one, oneBytes, cancellationToken).ConfigureAwait(false);
        await second.ReadAsync(other, otherBytes, cancellationToken).ConfigureAwait(false);
        int same = oneBytes.Span.CommonPrefixLength(otherBytes.Span);
        return same < length ? StartOfSector(same) : null;
    }

    /// <summary>QEMU reports the start of the sector, counted from where its read began.</summary>
    private static int StartOfSector(int offset) => offset / SectorBytes * SectorBytes;
}
