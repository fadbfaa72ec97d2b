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

    /// <summary>The locks that are taken on a file. Images are opened for reading only, so that <see cref="ImageLock.Write"/> has no use here.</summary>
    public ImageLock Lock { get; init; } = ImageLock.Read;
}
