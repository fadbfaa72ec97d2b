using System.IO.Compression;

namespace Qcow2Bitmaps.Compression;

/// <summary>Decodes clusters of raw deflate (RFC 1951), which qcow2 calls zlib.</summary>
/// <remarks>
/// As in QEMU, the data must fill the cluster; whether they continue after that is not checked. Distances may be up to deflate's 32 KiB:
/// QEMU asks zlib for a window of 4 KiB but accepts them as well, because it decodes a cluster in one call. QEMU refuses data that end in a
/// broken block right after a full cluster; here such a block is not read.
/// </remarks>
internal sealed class DeflateDecoder : IClusterDecoder
{
    private byte[] _compressed = [];

    /// <inheritdoc/>
    public bool TryDecode(ReadOnlySpan<byte> compressed, Span<byte> cluster, out CompressionFault fault)
    {
        if (_compressed.Length < compressed.Length)
        {
            _compressed = new byte[compressed.Length];
        }

        compressed.CopyTo(_compressed);
        try
        {
            // A stream cannot be reused; this one takes a few hundred bytes, and its buffers come from pools.
            using var input = new MemoryStream(_compressed, 0, compressed.Length, writable: false);
            using var inflating = new DeflateStream(input, CompressionMode.Decompress);
            int made = inflating.ReadAtLeast(cluster, cluster.Length, throwOnEndOfStream: false);
            fault = made == cluster.Length ? CompressionFault.None : CompressionFault.Truncated;
        }
        catch (InvalidDataException)
        {
            fault = CompressionFault.Deflate;
        }

        return fault == CompressionFault.None;
    }
}
