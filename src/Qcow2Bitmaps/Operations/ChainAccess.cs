using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>Opens chains for operations: those images for writing that an operation changes, and no others.</summary>
internal static class ChainAccess
{
    /// <summary>Opens a chain, looks which images have to be written, and opens it again so.</summary>
    /// <param name="topPath">The top image.</param>
    /// <param name="options">How; its own choice of writable images is not looked at.</param>
    /// <param name="choose">Says which images have to be written, by their index from the top.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The chain, with the locks of a writer on those images, to be disposed.</returns>
    /// <exception cref="Qcow2UnsupportedException">A backing file's name or format is refused.</exception>
    /// <exception cref="ImageLockedException">Somebody else uses one of the images in a way that excludes this.</exception>
    /// <exception cref="IOException">A file cannot be opened, or the chain became another one in between.</exception>
    public static async Task<ImageChain> OpenAsync(
        string topPath, ChainOpenOptions options, Func<ImageChain, ValueTask<IReadOnlyList<int>>> choose,
        CancellationToken cancellationToken)
    {
        int[] writable;
        StorageIdentity?[] images;
        ImageChain look = await ImageChain.OpenAsync(
            topPath, options with { WritableLayers = [] }, cancellationToken).ConfigureAwait(false);
        await using (look.ConfigureAwait(false))
        {
            writable = [.. await choose(look).ConfigureAwait(false)];
            images = [.. look.Layers.Select(static layer => layer.Storage.Identity)];
        }

        // Locks of one process on two handles exclude one another: the first look has to end before.
        ImageChain chain = await ImageChain.OpenAsync(
            topPath, options with { WritableLayers = writable }, cancellationToken).ConfigureAwait(false);
        if (!chain.Layers.Select(static layer => layer.Storage.Identity).SequenceEqual(images))
        {
            await chain.DisposeAsync().ConfigureAwait(false);
            throw IOException.Of($"The chain of '{topPath}' changed while it was being opened");
        }

        return chain;
    }
}
