using System.IO.Compression;

namespace Qcow2Bitmaps.Compression;

/// <summary>Decodes clusters of raw deflate (RFC 1951), which qcow2 calls zlib.</summary>
/// <remarks>
/// As in QEMU, the cluster must become full, and whether the data would go on is not asked. Distances may be the whole 32 KiB of deflate:
/// QEMU, though it asks zlib for a window of 4 KiB, takes them as well, since it decodes a cluster in one call. It refuses data that break
/// off in a broken block right behind a full cluster; here they are not looked at.
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
            // A stream cannot be used again; this one takes a few hundred bytes, and its buffers come from pools.
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
