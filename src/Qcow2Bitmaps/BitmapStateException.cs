using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>A bitmap does not exist, or its state (inconsistent, for example) refuses what was asked of it.</summary>
public sealed class BitmapStateException : Qcow2Exception
{
    /// <summary>Names the bitmap and the reason.</summary>
    /// <param name="bitmapName">The bitmap's name.</param>
    /// <param name="message">Why the operation is refused, in QEMU's words where QEMU has them.</param>
    public BitmapStateException(string bitmapName, string message)
        : this(bitmapName, (PrintableMessage)message)
    {
    }

    internal BitmapStateException(string bitmapName, PrintableMessage message)
        : base(message) => BitmapName = bitmapName;

    /// <summary>The name of the bitmap that refuses.</summary>
    public string BitmapName { get; }

    /// <summary>
    /// Which step of an edit was refused: <c>add</c>, <c>remove</c>, <c>clear</c>, <c>enable</c>, <c>disable</c>, <c>merge</c>,
    /// <c>rename</c>, <c>set</c> or <c>backup</c>; null outside edits.
    /// </summary>
    public string? Operation { get; internal set; }
}
