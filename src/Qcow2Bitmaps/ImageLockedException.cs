using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>Another process, or another handle of this one, holds a lock on the image that excludes what was asked.</summary>
public sealed class ImageLockedException : Qcow2Exception
{
    internal ImageLockedException(string path, PrintableMessage message)
        : base(message) => Path = path;

    /// <summary>The path of the image as it was given.</summary>
    public string Path { get; }
}
