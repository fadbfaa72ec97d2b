using Qcow2Bitmaps.Images.Resizing;

namespace Qcow2Bitmaps;

public sealed partial class Qcow2Image
{
    /// <summary>Resizes the disk. Bitmaps are resized with it; snapshots keep their sizes.</summary>
    /// <remarks>
    /// An interruption at any byte leaves the old or the new image, and a check finds nothing. Added space reads as zeros, whatever was
    /// stored past the old end in the image or below it; but data that a raw data file already has there are kept and visible.
    /// </remarks>
    /// <param name="sizeBytes">The new size in bytes, a multiple of 512, not 0.</param>
    /// <param name="allowShrink">Whether the disk may become smaller, which deletes everything past the new end.</param>
    /// <param name="preallocation">How the added space is preallocated; only where the disk grows.</param>
    /// <param name="cancellationToken">Cancels the work while the image is unchanged; a switch that has begun is completed.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is not positive, or no multiple of 512.</exception>
    /// <exception cref="ArgumentException">The disk would shrink, and that is not allowed; or space is to be allocated and the disk
    /// does not grow.</exception>
    /// <exception cref="BitmapStateException">A bitmap is inconsistent, or would have more bits than QEMU
    /// opens: it would be lost.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image is of version 2 and has snapshots or would have to hide its backing image; has
    /// an external data file that is not given, or a raw one that differs from the disk where the disk ends; is read-only; or is encrypted
    /// and its old or new end lies inside a cluster that has data.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt, or its reference counts are wrong.</exception>
    /// <exception cref="InvalidOperationException">A writer of guest data is open on the image.</exception>
    /// <exception cref="NoSpaceException">The storage cannot grow and has too little space.</exception>
    /// <exception cref="IOException">The storage failed; the image has its old or its new state.</exception>
    public Task ResizeAsync(
        long sizeBytes, bool allowShrink = false, Preallocation preallocation = Preallocation.Off,
        CancellationToken cancellationToken = default) =>
        ResizeAsync(
            sizeBytes, new Qcow2ResizeOptions { AllowShrink = allowShrink, Preallocation = preallocation }, cancellationToken).AsTask();

    internal ValueTask ResizeAsync(long sizeBytes, Qcow2ResizeOptions options, CancellationToken cancellationToken) =>
        ResizeChange.RunAsync(Handle, sizeBytes, options, cancellationToken);
}
