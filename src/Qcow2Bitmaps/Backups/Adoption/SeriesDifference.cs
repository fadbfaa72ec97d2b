namespace Qcow2Bitmaps.Backups.Adoption;

/// <summary>Describes where a series differs from the disk, and the possible reason.</summary>
internal static class SeriesDifference
{
    private const int SectorBytes = 512;

    /// <summary>Examines the differing sector in each image.</summary>
    /// <param name="images">The series, the oldest first.</param>
    /// <param name="disk">The disk.</param>
    /// <param name="bitmap">The bitmap that marks it as clean.</param>
    /// <param name="offset">The offset of the first difference, in bytes.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public static async ValueTask<string> DescribeAsync(
        IReadOnlyList<ForeignImage> images, ImageChain disk, string bitmap, long offset, CancellationToken cancellationToken)
    {
        var wanted = new byte[SectorBytes];
        var found = new byte[SectorBytes];
        long sector = offset / SectorBytes * SectorBytes;
        await disk.ReadAsync(sector, wanted, cancellationToken).ConfigureAwait(false);
        ForeignImage? decides = null;
        var same = new List<ForeignImage>();
        foreach (ForeignImage image in images.Reverse())
        {
            if (sector < image.Layer.VirtualSizeBytes && await image.ReadAsync(sector, found, cancellationToken).ConfigureAwait(false))
            {
                decides ??= image;
                if (wanted.AsSpan().SequenceEqual(found))
                {
                    same.Add(image);
                }
            }
        }

        string difference = $"The images are not the disk: at byte {offset}, where bitmap '{bitmap}' is clean, the disk differs from "
            + (decides is null ? "zeros, as no image has anything there" : $"{decides}, the last one that has something there");
        if (same.Count > 0)
        {
            return $"{difference}, and is as {same[0]} has it: the order may be wrong. Expected: {same[0]} behind {decides}";
        }

        ForeignImage? old = wanted.AsSpan().ContainsAnyExcept((byte)0)
            ? null
            : images.Skip(1).FirstOrDefault(static image => image.HoldsNoZeros);
        return $"{difference}, and no image has there what it has. "
            + (old is null
                ? "Expected: the whole series, oldest first, of this disk, and a bitmap that records since the last image's point. "
                    + "An image may be missing or damaged, or of another disk, or the bitmap have started later"
                : $"The disk has zeros there, which {old} cannot hold: it is of version 2. Where QEMU backs up by a bitmap, "
                    + $"its target has to be of version 3 (compat=1.1)");
    }
}
