using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>Images that were committed by one who was stopped before it could remove them.</summary>
/// <remarks>
/// Committed images are removed from the bottom up, so that those that are left can be found from the topmost one. Nothing is believed: that an image was committed is known from its base, which reads as it does.
/// </remarks>
public static class CommitRemains
{
    /// <summary>Finds what is left to remove.</summary>
    /// <param name="activePath">The top of the whole chain, from which the images have gone; null where that was the committed top itself.</param>
    /// <param name="topPath">The committed top.</param>
    /// <param name="basePath">The image that took all.</param>
    /// <param name="options">How chains are opened.</param>
    /// <param name="cancellationToken">Ends the search.</param>
    /// <returns>The files, the lowest first, in which order they are to be removed; empty where this is no commit that was stopped between its end and the removal, or the base does not read as the top does.</returns>
    /// <exception cref="Qcow2Exception">An image is broken, in use, or refused.</exception>
    /// <exception cref="IOException">A file cannot be opened.</exception>
    public static async Task<IReadOnlyList<string>> FindAsync(
        string? activePath, string topPath, string basePath, ChainOpenOptions options, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        string? format = options.TopFormat;
        if (activePath is not null && FileStorage.IdentityOf(activePath) is { } identity && identity == FileStorage.IdentityOf(topPath))
        {
            activePath = null;
        }

        if (activePath is not null)
        {
            ImageChain active = await ImageChain.OpenAsync(activePath, options, cancellationToken).ConfigureAwait(false);
            await using (active.ConfigureAwait(false))
            {
                if (active.IndexOf(topPath) is not null || active.IndexOf(basePath) is null)
                {
                    return [];
                }
            }

            format = ImageFormat.Qcow2;
        }

        var standIn = new StandIn(options.Resolver ?? FileBackingResolver.ForTop(topPath, options.AllowedFolders), basePath);
        ImageChain chain = await ImageChain.OpenAsync(topPath, options with { TopFormat = format, Resolver = standIn }, cancellationToken).ConfigureAwait(false);
        await using (chain.ConfigureAwait(false))
        {
            if (chain.IndexOf(basePath) is not (> 0 and { } target) || (activePath is null && !standIn.IsUsed))
            {
                return [];
            }

            if ((await ChainOverlays.FindAsync(chain, Enumerable.Range(0, target), cancellationToken).ConfigureAwait(false)).Count > 0)
            {
                // Something still needs them.
                return [];
            }

            ImageChain below = await ImageChain.OpenAsync(basePath, options with { TopFormat = chain.Layers[target].Format }, cancellationToken).ConfigureAwait(false);
            await using (below.ConfigureAwait(false))
            {
                long size = chain.Layers[0].VirtualSizeBytes;
                ImageComparison comparison = await ImageComparison.CompareAsync(chain, below, cancellationToken: cancellationToken).ConfigureAwait(false);
                bool isThere = below.Layers[0].VirtualSizeBytes >= size && (comparison.Outcome == ComparisonOutcome.Identical || comparison.OffsetBytes >= size);
                return isThere ? [.. chain.Layers.Take(target).Reverse().Where(static layer => !layer.IsFixedSize).Select(static layer => layer.Path)] : [];
            }
        }
    }

    /// <summary>Has the base in the place of an image that is gone already.</summary>
    private sealed class StandIn(IBackingResolver resolver, string basePath) : IBackingResolver
    {
        public bool IsUsed { get; private set; }

        public async ValueTask<ImageStorage> OpenAsync(BackingReference reference, ImageLock imageLock, CancellationToken cancellationToken)
        {
            try
            {
                return await resolver.OpenAsync(reference, imageLock, cancellationToken).ConfigureAwait(false);
            }
            catch (FileNotFoundException) when (!IsUsed)
            {
                IsUsed = true;
                return FileStorage.Open(basePath, reference.Access, imageLock);
            }
        }
    }
}
