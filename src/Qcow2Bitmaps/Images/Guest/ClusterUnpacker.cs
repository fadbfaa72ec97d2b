using System.Collections.Concurrent;
using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Compression;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Guest;

/// <summary>Reads compressed clusters. Thread-safe: each caller gets its own decoder. Disposing it frees the decoders' memory.</summary>
internal sealed class ClusterUnpacker(ImageStorage storage, Qcow2Header header) : IDisposable
{
    private readonly ConcurrentBag<IClusterDecoder> _decoders = [];
    private volatile bool _isDisposed;

    /// <summary>Reads and unpacks a cluster.</summary>
    /// <param name="diskOffset">Where it starts on the disk, in bytes, for messages.</param>
    /// <param name="offset">Where its compressed bytes start, in bytes.</param>
    /// <param name="length">The most bytes that they may take.</param>
    /// <param name="cluster">Receives the whole cluster.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="ObjectDisposedException">The unpacker was disposed.</exception>
    /// <exception cref="Qcow2FormatException">The bytes do not decode to a cluster.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask ReadAsync(long diskOffset, long offset, int length, Memory<byte> cluster, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        using MemoryOwner<byte> packed = MemoryOwner<byte>.Allocate(length);
        if (!_decoders.TryTake(out IClusterDecoder? decoder))
        {
            decoder = header.CompressionType == CompressionType.Zstd ? new ZstdDecoder() : new DeflateDecoder();
        }

        try
        {
            int read = await storage.ReadAsync(offset, packed.Memory, cancellationToken).ConfigureAwait(false);
            if (!decoder.TryDecode(packed.Span[..read], cluster.Span, out CompressionFault fault))
            {
                (string found, string hint) = read < length
                    ? ($"cut off by the file's end after {read} of at most {length} bytes", ": the file was probably not copied whole")
                    : ($"{fault} in {read} bytes", "");
                throw new Qcow2FormatException(
                    new FormatFault(
                        FaultCode.CompressedData, $"compressed cluster at byte {diskOffset} of the disk", "data", (ulong)offset, found,
                        $"what unpacks to {cluster.Length} bytes{hint}"),
                    storage.Name);
            }
        }
        finally
        {
            _decoders.Add(decoder);
            if (_isDisposed)
            {
                Dispose();
            }
        }
    }

    public void Dispose()
    {
        _isDisposed = true;
        while (_decoders.TryTake(out IClusterDecoder? decoder))
        {
            (decoder as IDisposable)?.Dispose();
        }
    }
}
