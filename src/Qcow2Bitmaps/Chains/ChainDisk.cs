using System.Runtime.CompilerServices;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Chains;

/// <summary>The disk of a chain, as the one below an image that is not part of the chain.</summary>
public sealed class ChainDisk : IBackingDisk
{
    private readonly ImageChain _chain;

    private ChainDisk(ImageChain chain, long sizeBytes)
    {
        _chain = chain;
        SizeBytes = sizeBytes;
    }

    /// <inheritdoc/>
    public long SizeBytes { get; }

    /// <summary>Takes a chain's disk.</summary>
    /// <param name="chain">The chain, which stays the caller's.</param>
    /// <param name="cancellationToken">Ends the reading of the size.</param>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async ValueTask<ChainDisk> OfAsync(ImageChain chain, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        return new ChainDisk(chain, await chain.GetSizeBytesAsync(cancellationToken).ConfigureAwait(false));
    }

    /// <inheritdoc/>
    public async ValueTask ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        int read = await _chain.ReadAsync(offsetBytes, buffer, cancellationToken).ConfigureAwait(false);
        buffer.Span[read..].Clear();
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<StorageRange> ListDataAsync(long startBytes, long endBytes, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        ChainMap map = await _chain.OpenDataAsync(cancellationToken).ConfigureAwait(false);
        await foreach (StorageRange range in map.ListDataAsync(startBytes, endBytes, 1, cancellationToken).ConfigureAwait(false))
        {
            yield return range;
        }
    }
}
