namespace Qcow2Bitmaps.Format;

/// <summary>A place in the image file that something was given.</summary>
/// <param name="Bytes">Where it starts, in bytes.</param>
internal readonly record struct HostOffset(long Bytes)
{
    /// <summary>The place as structures on disk name it.</summary>
    public ulong Raw => (ulong)Bytes;

    public static HostOffset Of(ulong raw) => new((long)raw);

    public static HostOffset operator +(HostOffset offset, long bytes) => new(offset.Bytes + bytes);
}
