using Qcow2Bitmaps.Chains;

namespace Qcow2Bitmaps.Operations;

/// <summary>Tells what helps where a bitmap is not valid.</summary>
public static class ChainRemedy
{
    /// <summary>Finds what helps.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="verdict">The verdict on one of its bitmaps.</param>
    /// <param name="cancellationToken">Ends the reading of the bitmap's tables.</param>
    /// <returns>What helps; null where the bitmap is valid, or no image holds it.</returns>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async ValueTask<Remedy?> FindAsync(ImageChain chain, BitmapVerdict verdict, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        ArgumentNullException.ThrowIfNull(verdict);
        return verdict.Reason switch
        {
            null => null,
            InvalidReason.OpenElsewhere => Remedy.Wait,
            InvalidReason.Unreadable => Remedy.Repair,
            _ when verdict.Images.Count == 0 => null,
            _ => await ChainPopulate.CanRebuildAsync(chain, verdict.Name, cancellationToken).ConfigureAwait(false) ? Remedy.Populate : Remedy.Delete,
        };
    }
}
