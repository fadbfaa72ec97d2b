using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>A bitmap does not exist, or its state (inconsistent, for example) does not allow the operation.</summary>
public sealed class BitmapStateException : Qcow2Exception
{
    internal BitmapStateException(string bitmapName, PrintableMessage message)
        : base(message) => BitmapName = bitmapName;

    internal BitmapStateException(BitmapVerdict verdict)
        : this(verdict.Name, (PrintableMessage)$"{verdict}", verdict)
    {
    }

    internal BitmapStateException(string bitmapName, PrintableMessage message, BitmapVerdict verdict)
        : base(message)
    {
        BitmapName = bitmapName;
        Verdict = verdict;
        Remedy = verdict.Remedy;
    }

    /// <summary>The name of the bitmap that does not allow the operation.</summary>
    public string BitmapName { get; }

    /// <summary>Why the bitmap is not valid over a chain, and what helps; null where that is not the reason.</summary>
    public BitmapVerdict? Verdict { get; }

    /// <summary>
    /// Which step of an edit was refused: <c>add</c>, <c>remove</c>, <c>clear</c>, <c>enable</c>, <c>disable</c>, <c>merge</c>,
    /// <c>rename</c>, <c>set</c> or <c>backup</c>; null outside edits.
    /// </summary>
    public string? Operation { get; internal set; }
}
