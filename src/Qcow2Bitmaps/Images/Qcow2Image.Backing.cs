using Qcow2Bitmaps.Images.Naming;

namespace Qcow2Bitmaps;

/// <summary>The name of the backing file.</summary>
public sealed partial class Qcow2Image
{
    /// <summary>Has the image name another backing file, or none; nothing else changes, as with <c>qemu-img rebase -u</c>.</summary>
    /// <remarks>
    /// A stop at any byte leaves the old name or the new one. Nothing is opened: whether the guest sees the same is the caller's to know.
    /// </remarks>
    /// <param name="name">The name as it is to be stored, at most 1023 bytes of UTF-8; null for no backing file.</param>
    /// <param name="format">The backing file's format by QEMU's name, at most 15 bytes; without meaning where there is none.</param>
    /// <param name="cancellationToken">Ends the work while the image is as before.</param>
    /// <exception cref="ArgumentException">The name or the format is empty, or the format is too long.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image is open for reading only, its first cluster has no room, the name is too long,
    /// it has a raw data file and is to have a backing file, or an edit of several images was interrupted and is to be finished
    /// first.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt.</exception>
    /// <exception cref="IOException">The storage failed; the image is as before or as after.</exception>
    public ValueTask SetBackingFileAsync(string? name, string format, CancellationToken cancellationToken = default) =>
        BackingChange.RunAsync(Handle, name, format, cancellationToken);
}
