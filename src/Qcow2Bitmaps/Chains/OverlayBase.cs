using Qcow2Bitmaps.Images.Naming;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Chains;

/// <summary>What must be known of a backing file before an overlay on it is created.</summary>
internal static class OverlayBase
{
    /// <inheritdoc cref="ImageChain.PlanOverlayAsync"/>
    public static async Task<Qcow2CreateOptions> InspectAsync(
        string overlayPath, string backingFile, ChainOpenOptions options, CancellationToken cancellationToken)
    {
        StoredName.RequireFile(backingFile);
        var chain = await ImageChain.OpenAsync(
            BackingPath.Combine(overlayPath, backingFile), options, cancellationToken).ConfigureAwait(false);
        await using (chain.ConfigureAwait(false))
        {
            if (chain.Layers.Count >= options.Image.Limits.MaxChainDepth)
            {
                throw new Qcow2UnsupportedException(
                    UnsupportedReason.ChainTooDeep, $"The chain would have more than {options.Image.Limits.MaxChainDepth} images");
            }

            if (FileStorage.IdentityOf(overlayPath) is { } identity
                && chain.Layers.FirstOrDefault(layer => layer.Storage.Key == identity) is { } same)
            {
                throw new Qcow2UnsupportedException(
                    UnsupportedReason.ChainLoop,
                    $"'{overlayPath}' would be its own backing file: it is the same file as {same} of the chain below it");
            }

            return new Qcow2CreateOptions
            {
                SizeBytes = chain.Layers[0].VirtualSizeBytes,
                BackingFile = chain.Layers[0].NameIn(overlayPath, backingFile),
                BackingFormat = chain.Layers[0].Format,
            };
        }
    }
}
