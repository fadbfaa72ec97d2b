using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>Another process, or another handle of this one, holds a lock on the image that excludes what was asked.</summary>
public sealed class ImageLockedException : Qcow2Exception
{
    /// <summary>Names the image and the lock.</summary>
    /// <param name="path">The image that is locked.</param>
    /// <param name="message">Which lock could not be had, in QEMU's words.</param>
    public ImageLockedException(string path, string message)
        : this(path, (PrintableMessage)message)
    {
    }

    internal ImageLockedException(string path, PrintableMessage message)
        : base(message) => Path = path;

    /// <summary>The path of the image as it was given.</summary>
    public string Path { get; }
}
