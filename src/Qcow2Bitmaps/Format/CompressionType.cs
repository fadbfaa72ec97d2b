namespace Qcow2Bitmaps;

/// <summary>How compressed clusters are packed (header offset 104).</summary>
public enum CompressionType
{
    /// <summary>Raw deflate, which QEMU calls zlib.</summary>
    Zlib = 0,
    /// <summary>Zstandard frames.</summary>
    Zstd = 1,
}
