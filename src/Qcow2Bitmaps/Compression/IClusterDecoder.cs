namespace Qcow2Bitmaps.Compression;

/// <summary>Decodes clusters of one compression type. Reusable, but not thread-safe: one for each thread.</summary>
internal interface IClusterDecoder
{
    /// <summary>Decodes a cluster.</summary>
    /// <param name="compressed">The compressed data, possibly padded to whole sectors: bytes after the data are ignored.</param>
    /// <param name="cluster">Receives the cluster, and is filled completely; its content after a failure is unspecified.</param>
    /// <param name="fault">What is wrong, or <see cref="CompressionFault.None"/>.</param>
    /// <returns>Whether the data decoded to exactly one cluster.</returns>
    /// <remarks>Never throws because of invalid data; time is bounded by the lengths of both spans.</remarks>
    bool TryDecode(ReadOnlySpan<byte> compressed, Span<byte> cluster, out CompressionFault fault);
}
