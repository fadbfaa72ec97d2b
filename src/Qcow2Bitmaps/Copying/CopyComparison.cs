namespace Qcow2Bitmaps.Copying;

/// <summary>
/// Tells from tables alone what of a disk reads the same on the target, so that it is not read. Asked in
/// ascending order, by one caller at a time.
/// </summary>
/// <param name="there">What the target reads.</param>
/// <param name="hasMap">Whether its tables tell that.</param>
/// <param name="unitBytes">The smallest part that can be left out, in bytes.</param>
/// <param name="zeroFromBytes">From where on the target reads as zeros.</param>
internal sealed class CopyComparison(Disk there, bool hasMap, int unitBytes, long zeroFromBytes)
{
    private readonly DiskCursor? _cursor = hasMap ? new DiskCursor(there) : null;

    /// <summary>Looks at an extent of the source.</summary>
    /// <param name="source">The source.</param>
    /// <param name="extent">The extent, from the offset on.</param>
    /// <param name="offset">Where it starts on the target's disk, in bytes.</param>
    /// <param name="cancellationToken">Ends the reading of tables.</param>
    /// <returns>Whether the target surely reads the same, and up to where on its disk that holds. What may differ are whole
    /// units, as far as the extent goes.</returns>
    public async ValueTask<(bool IsSame, long EndBytes)> LookAsync(
        Disk source, DiskExtent extent, long offset, CancellationToken cancellationToken)
    {
        long extentEnd = offset + extent.LengthBytes;
        (bool isSame, long end) = await LookThereAsync(source, extent, offset, extentEnd, cancellationToken).ConfigureAwait(false);
        // A unit that is the same in part only is compared, and written, as a whole.
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
