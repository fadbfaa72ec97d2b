namespace Qcow2Bitmaps.Format;

/// <summary>The offset of something allocated in the image file.</summary>
/// <param name="Bytes">Where it starts, in bytes.</param>
internal readonly record struct HostOffset(long Bytes)
{
    /// <summary>The offset as stored in structures on disk.</summary>
    public ulong Raw => (ulong)Bytes;

    public static HostOffset Of(ulong raw) => new((long)raw);

    public static HostOffset operator +(HostOffset offset, long bytes) => new(offset.Bytes + bytes);
}
