using Qcow2Bitmaps.Images.Resizing;

namespace Qcow2Bitmaps;

public sealed partial class Qcow2Image
{
    /// <summary>Gives the disk another size. Bitmaps grow and are cut with it; snapshots keep theirs.</summary>
    /// <remarks>
    /// A stop at any byte leaves the image as before or as after, and a check finds nothing. What the disk gains reads as zeros, whatever
    /// was stored behind its end, in the image or below it; but what a raw data file has there stays, and is shown.
    /// </remarks>
    /// <param name="sizeBytes">The new size in bytes, a multiple of 512, not 0.</param>
    /// <param name="options">How; the defaults when null.</param>
    /// <param name="cancellationToken">Ends the work while the image is as before; once the switch has begun it is carried through.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is not positive, or no multiple of 512.</exception>
    /// <exception cref="ArgumentException">The disk would shrink, and the options do not allow that.</exception>
    /// <exception cref="BitmapStateException">A bitmap is inconsistent, or would have more bits than QEMU
    /// opens: it would be lost.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image is of version 2 and has snapshots or would have to hide its backing image; has
    /// an external data file that is not given, or a raw one that does not read as the disk does where that ends; is open for reading only;
    /// or is encrypted, and an end lies inside a cluster that has data.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt, or its reference counts are wrong.</exception>
    /// <exception cref="InvalidOperationException">A writer of guest data is open on the image.</exception>
    /// <exception cref="NoSpaceException">There is no room, on a storage that cannot grow.</exception>
    /// <exception cref="IOException">The storage failed; the image is as before or as after.</exception>
    public ValueTask ResizeAsync(long sizeBytes, Qcow2ResizeOptions? options = null, CancellationToken cancellationToken = default) =>
        ResizeChange.RunAsync(Handle, sizeBytes, options ?? Qcow2ResizeOptions.Default, cancellationToken);
}
