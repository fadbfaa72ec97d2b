namespace Qcow2Bitmaps.Copying;

/// <summary>
/// Finds, from tables alone, the parts of a disk that read the same on the target, so that they need not be read. Must be called in
/// ascending order, by one caller at a time.
/// </summary>
/// <param name="there">What the target reads.</param>
/// <param name="hasMap">Whether the target's tables can be consulted.</param>
/// <param name="unitBytes">The smallest part that can be skipped, in bytes.</param>
/// <param name="zeroFromBytes">The offset from which the target reads as zeros.</param>
internal sealed class CopyComparison(Disk there, bool hasMap, int unitBytes, long zeroFromBytes)
{
    private readonly DiskCursor? _cursor = hasMap ? new DiskCursor(there) : null;

    /// <summary>Compares an extent of the source with the target.</summary>
    /// <param name="source">The source.</param>
    /// <param name="extent">The extent, from the offset on.</param>
    /// <param name="offset">Where it starts on the target's disk, in bytes.</param>
    /// <param name="cancellationToken">Ends the reading of tables.</param>
    /// <returns>Whether the target is known to read the same, and the end of that part on the target's disk. Parts that may differ are
    /// whole units, as far as the extent reaches.</returns>
    public async ValueTask<(bool IsSame, long EndBytes)> LookAsync(
        Disk source, DiskExtent extent, long offset, CancellationToken cancellationToken)
    {
        long extentEnd = offset + extent.LengthBytes;
        (bool isSame, long end) = await LookThereAsync(source, extent, offset, extentEnd, cancellationToken).ConfigureAwait(false);
        // A unit that is only partly the same is compared, and written, as a whole.
        long wholeEnd = end == source.SizeBytes ? end : end & -unitBytes;
        if (isSame && (offset & (unitBytes - 1)) == 0 && wholeEnd > offset)
        {
            return (true, wholeEnd);
        }

        long least = isSame ? offset + 1 : end;
        return (false, least + Math.Min(extentEnd - least, -least & (unitBytes - 1)));
    }

    private async ValueTask<(bool IsSame, long EndBytes)> LookThereAsync(
        Disk source, DiskExtent extent, long offset, long extentEnd, CancellationToken cancellationToken)
    {
        if (offset >= zeroFromBytes)
        {
            return (extent.IsZero, extentEnd);
        }

        if (_cursor is null)
        {
            return (false, Math.Min(extentEnd, zeroFromBytes));
        }

        DiskExtent its = await _cursor.GoToAsync(offset, cancellationToken).ConfigureAwait(false);
        return ((extent.IsZero && its.IsZero) || source.IsSamePlace(extent, there, its), Math.Min(extentEnd, its.EndBytes));
    }
}
