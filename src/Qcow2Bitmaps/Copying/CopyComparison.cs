using Qcow2Bitmaps.Chains;

namespace Qcow2Bitmaps.Copying;

/// <summary>Tells from tables alone what of a disk reads the same on the target, so that it is not read. Asked in ascending order, by one caller at a time.</summary>
internal sealed class CopyComparison(ICopyTarget target)
{
    private readonly ChainCursor? _there = target.Map is { } map ? new ChainCursor(map) : null;

    /// <summary>Looks at an extent of the source.</summary>
    /// <param name="source">The source.</param>
    /// <param name="extent">The extent, from the offset on.</param>
    /// <param name="offset">Where it starts on the target's disk, in bytes.</param>
    /// <param name="cancellationToken">Ends the reading of tables.</param>
    /// <returns>Whether the target surely reads the same, and up to where on its disk that holds. What may differ are whole units, as far as the extent goes.</returns>
    public async ValueTask<(bool IsSame, long EndBytes)> LookAsync(ChainMap source, ChainExtent extent, long offset, CancellationToken cancellationToken)
    {
        long extentEnd = offset + extent.LengthBytes;
        (bool isSame, long end) = await LookThereAsync(source, extent, offset, extentEnd, cancellationToken).ConfigureAwait(false);
        // A unit that is the same in part only is compared, and written, as a whole.
        long wholeEnd = end == source.SizeBytes ? end : end & -target.UnitBytes;
        if (isSame && (offset & (target.UnitBytes - 1)) == 0 && wholeEnd > offset)
        {
            return (true, wholeEnd);
        }

        long least = isSame ? offset + 1 : end;
        return (false, least + Math.Min(extentEnd - least, -least & (target.UnitBytes - 1)));
    }

    private async ValueTask<(bool IsSame, long EndBytes)> LookThereAsync(ChainMap source, ChainExtent extent, long offset, long extentEnd, CancellationToken cancellationToken)
    {
        if (offset >= target.ZeroFromBytes)
        {
            return (extent.IsZero, extentEnd);
        }

        if (_there is null)
        {
            return (false, Math.Min(extentEnd, target.ZeroFromBytes));
        }

        ChainExtent there = await _there.GoToAsync(offset, cancellationToken).ConfigureAwait(false);
        return ((extent.IsZero && there.IsZero) || source.IsSamePlace(extent, target.Map!, there), Math.Min(extentEnd, there.EndBytes));
    }
}
