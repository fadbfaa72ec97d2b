using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>How an image is opened. Immutable and safe to share between threads.</summary>
public sealed record Qcow2OpenOptions
{
    /// <summary>The defaults: QEMU's strictness and limits, and a reader's locks.</summary>
    internal static Qcow2OpenOptions Default { get; } = new();

    /// <summary>
    /// Whether a reader goes on after faults and reports them: broken directory entries, bitmaps that QEMU ignores because the autoclear
    /// bit is off, the last saved bits of bitmaps in use. For diagnosis and rescue: do not rely on the result as a record of changes.
    /// Otherwise it refuses what QEMU refuses, and shows of the rest what QEMU shows.
    /// </summary>
    public bool IsLenient
    {
        get => Strictness == Strictness.Lenient;
        init => Strictness = value ? Strictness.Lenient : Strictness.AsQemu;
    }

    internal Strictness Strictness { get; init; } = Strictness.AsQemu;

    /// <summary>The largest counts and sizes that are accepted.</summary>
    internal Qcow2Limits Limits { get; init; } = Qcow2Limits.Default;

    /// <summary>
    /// The locks taken on a file opened for reading: a reader's by default. Opening for writing takes a writer's locks, or none with
    /// <see cref="ImageLock.None"/>.
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
}
