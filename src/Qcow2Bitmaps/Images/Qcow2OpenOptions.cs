using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images;

/// <summary>How an image is opened. Immutable and safe to share between threads.</summary>
public sealed record Qcow2OpenOptions
{
    /// <summary>The defaults: as QEMU, with QEMU's limits and the locks of a reader.</summary>
    public static Qcow2OpenOptions Default { get; } = new();

    /// <summary>What is done about bytes that are not allowed.</summary>
    public Strictness Strictness { get; init; } = Strictness.AsQemu;

    /// <summary>The largest counts and sizes that are believed.</summary>
    public Qcow2Limits Limits { get; init; } = Qcow2Limits.Default;

    /// <summary>The locks that are taken on a file: those of a reader, as images are opened for reading only.</summary>
    /// <exception cref="ArgumentException">The lock is <see cref="ImageLock.Write"/>.</exception>
    public ImageLock Lock
    {
        get;
        init => field = value != ImageLock.Write ? value : throw new ArgumentException("Images are opened for reading only", nameof(value));
    } = ImageLock.Read;
}
