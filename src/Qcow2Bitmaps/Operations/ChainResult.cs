namespace Qcow2Bitmaps.Operations;

/// <summary>The result of an operation on a chain.</summary>
public sealed record ChainResult
{
    internal ChainResult(IReadOnlyList<BitmapChange> bitmaps, long copiedBytes = 0) => (Bitmaps, CopiedBytes) = (bitmaps, copiedBytes);

    /// <summary>What became of bitmaps, in the order in which it was done.</summary>
    public IReadOnlyList<BitmapChange> Bitmaps { get; }

    /// <summary>How many bytes of the disk were copied, those that were made to read as zeros among them.</summary>
    public long CopiedBytes { get; }

    /// <summary>
    /// The verdicts on the bitmaps that it changed, over the resulting chain (for a copy: over the source chain): which are valid, and
    /// the remedy if one is not.
    /// </summary>
    public IReadOnlyList<BitmapVerdict> Verdicts { get; internal init; } = [];

    /// <summary>The image whose backing file was changed; null if there is none.</summary>
    public string? RebasedImage { get; internal init; }

    /// <summary>Its new backing file's name, as stored; null for none.</summary>
    public string? BackingFile { get; internal init; }
}
