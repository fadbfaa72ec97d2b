using Qcow2Bitmaps.Images.Naming;

namespace Qcow2Bitmaps;

/// <summary>The name of the backing file.</summary>
public sealed partial class Qcow2Image
{
    /// <summary>Changes or removes the image's backing file name; nothing else changes, as with <c>qemu-img rebase -u</c>.</summary>
    /// <remarks>
    /// An interruption at any byte leaves the old name or the new one. No file is opened: the caller must ensure that the guest sees the
    /// same data.
    /// </remarks>
    /// <param name="name">The name to store, at most 1023 bytes of UTF-8; null for no backing file.</param>
    /// <param name="format">The backing file's format, by QEMU's name, at most 15 bytes; ignored without a backing file.</param>
    /// <param name="cancellationToken">Cancels the work while the image is unchanged.</param>
    /// <exception cref="ArgumentException">The name or the format is empty, or the format is too long.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image is read-only, its first cluster has too little space, the name is too long, it
    /// has a raw data file and would get a backing file, or an interrupted edit of several images must be finished first.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt.</exception>
    /// <exception cref="IOException">The storage failed; the image has its old or its new state.</exception>
    public Task SetBackingFileAsync(string? name, string format, CancellationToken cancellationToken = default) =>
        BackingChange.RunAsync(Handle, name, format, cancellationToken).AsTask();
}
