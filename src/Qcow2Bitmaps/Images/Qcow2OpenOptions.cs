using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>How an image is opened. Immutable and safe to share between threads.</summary>
public sealed record Qcow2OpenOptions
{
    /// <summary>The defaults: as QEMU, with QEMU's limits and the locks of a reader.</summary>
    internal static Qcow2OpenOptions Default { get; } = new();

    /// <summary>What is done about bytes that are not allowed.</summary>
    public Strictness Strictness { get; init; } = Strictness.AsQemu;

    /// <summary>The largest counts and sizes that are believed.</summary>
    internal Qcow2Limits Limits { get; init; } = Qcow2Limits.Default;

    /// <summary>
    /// The locks that are taken on a file that is opened for reading: those of a reader. Whoever writes takes those of a
    /// writer, or with <see cref="ImageLock.None"/> none.
    /// </summary>
    /// <exception cref="ArgumentException">The lock is <see cref="ImageLock.Write"/>, which opening for
    /// writing takes by itself.</exception>
    public ImageLock Lock
    {
        get;
        init =>
            field = value != ImageLock.Write
                ? value
                : throw new ArgumentException("The lock of a writer is taken when an image is opened for writing", nameof(value));
    } = ImageLock.Read;

    /// <summary>
    /// Whether the space of clusters that edits free is given back. For images that are opened by their
    /// path; other storage decides for itself.
    /// </summary>
    public DiscardMode Discard { get; init; }
}
