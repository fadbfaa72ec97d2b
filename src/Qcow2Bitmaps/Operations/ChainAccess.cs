using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>Opens chains for operations: only the images that an operation changes are opened for writing.</summary>
internal static class ChainAccess
{
    /// <summary>Opens a chain, determines which images must be written, and reopens it accordingly.</summary>
    /// <exception cref="IOException">A file cannot be opened, or the chain changed in between.</exception>
    public static async Task<ImageChain> OpenAsync(
        string topPath, ChainOpenOptions open, Func<ImageChain, ValueTask<IReadOnlyList<int>>> choose, CancellationToken cancellationToken)
    {
        int[] writable;
        StorageIdentity?[] images;
        ImageChain look = await ImageChain.OpenAsync(topPath, open with { WritableLayers = [] }, cancellationToken).ConfigureAwait(false);
        await using (look.ConfigureAwait(false))
        {
            writable = [.. await choose(look).ConfigureAwait(false)];
            images = [.. look.Layers.Select(static layer => layer.Storage.Key)];
        }

        // Locks on two handles conflict even within one process, so the first chain must be closed before.
        ImageChain chain = await ImageChain.OpenAsync(
            topPath, open with { WritableLayers = writable }, cancellationToken).ConfigureAwait(false);
        if (!chain.Layers.Select(static layer => layer.Storage.Key).SequenceEqual(images))
        {
            await chain.DisposeAsync().ConfigureAwait(false);
            throw IOException.Of($"The chain of '{topPath}' changed while it was being opened");
        }

        return chain;
    }
}
