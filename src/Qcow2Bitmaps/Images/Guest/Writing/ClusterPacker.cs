using System.Collections.Concurrent;
using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Compression;

namespace Qcow2Bitmaps.Images.Guest.Writing;

/// <summary>Compresses clusters, for any number of callers at a time.</summary>
internal sealed class ClusterPacker(int clusterSizeBytes)
{
    private readonly ConcurrentBag<DeflateEncoder> _encoders = [];

    /// <summary>Compresses a cluster; one that the disk ends in is filled up with zeros.</summary>
    /// <param name="cluster">Its bytes, up to the disk's end.</param>
    /// <param name="packed">Receives the compressed data; at least as large as a cluster.</param>
    /// <param name="packedBytes">The length of the compressed data.</param>
    /// <returns>Whether it is shorter than the cluster.</returns>
    public bool TryPack(ReadOnlySpan<byte> cluster, Span<byte> packed, out int packedBytes)
    {
        if (cluster.Length == clusterSizeBytes)
        {
            return TryPackWhole(cluster, packed, out packedBytes);
        }

        using SpanOwner<byte> whole = SpanOwner<byte>.Allocate(clusterSizeBytes);
        cluster.CopyTo(whole.Span);
        whole.Span[cluster.Length..].Clear();
        return TryPackWhole(whole.Span, packed, out packedBytes);
    }

    private bool TryPackWhole(ReadOnlySpan<byte> cluster, Span<byte> packed, out int packedBytes)
    {
        if (!_encoders.TryTake(out DeflateEncoder? encoder))
        {
            encoder = new DeflateEncoder();
        }

        bool isShorter = encoder.TryEncode(cluster, packed[..(clusterSizeBytes - 1)], out packedBytes);
        _encoders.Add(encoder);
        return isShorter;
    }
}
