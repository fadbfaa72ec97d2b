using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>Opens chains for operations: those images for writing that an operation changes, and no others.</summary>
internal static class ChainAccess
{
    /// <summary>Opens a chain, looks which images have to be written, and opens it again so.</summary>
    /// <exception cref="IOException">A file cannot be opened, or the chain became another one in between.</exception>
    public static async Task<ImageChain> OpenAsync(
        string topPath, ChainOpenOptions open, Func<ImageChain, ValueTask<IReadOnlyList<int>>> choose, CancellationToken cancellationToken)
    {
        int[] writable;
        StorageIdentity?[] images;
        ImageChain look = await ImageChain.OpenAsync(topPath, open with { WritableLayers = [] }, cancellationToken).ConfigureAwait(false);
        await using (look.ConfigureAwait(false))
        {
            writable = [.. await choose(look).ConfigureAwait(false)];
            images = [.. look.Layers.Select(static layer => layer.Storage.Identity)];
        }

        // Locks of one process on two handles exclude one another: the first look has to end before.
        ImageChain chain = await ImageChain.OpenAsync(
            topPath, open with { WritableLayers = writable }, cancellationToken).ConfigureAwait(false);
        if (!chain.Layers.Select(static layer => layer.Storage.Identity).SequenceEqual(images))
        {
            await chain.DisposeAsync().ConfigureAwait(false);
            throw IOException.Of($"The chain of '{topPath}' changed while it was being opened");
        }

        return chain;
    }
}
