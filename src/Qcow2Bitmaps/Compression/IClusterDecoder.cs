namespace Qcow2Bitmaps.Compression;

/// <summary>Decodes clusters of one compression type. Reusable, but not thread-safe: one for each thread.</summary>
internal interface IClusterDecoder
{
    /// <summary>Decodes a cluster.</summary>
    /// <param name="compressed">The compressed data, in whole sectors or not: what follows the data is not looked at.</param>
    /// <param name="cluster">Filled to the last byte; what it holds after a failure is not specified.</param>
    /// <param name="fault">What is wrong, or <see cref="CompressionFault.None"/>.</param>
    /// <returns>Whether the data made exactly the cluster.</returns>
    /// <remarks>Never throws on what the data say; time is bounded by the lengths of both spans.</remarks>
    bool TryDecode(ReadOnlySpan<byte> compressed, Span<byte> cluster, out CompressionFault fault);
}
