namespace Qcow2Bitmaps.Operations;

/// <summary>What an operation on a chain has done.</summary>
public sealed record ChainResult
{
    internal ChainResult(IReadOnlyList<BitmapChange> bitmaps, long copiedBytes = 0) => (Bitmaps, CopiedBytes) = (bitmaps, copiedBytes);

    /// <summary>What became of bitmaps, in the order in which it was done.</summary>
    public IReadOnlyList<BitmapChange> Bitmaps { get; }

    /// <summary>How many bytes of the disk were copied, those that were made to read as zeros among them.</summary>
    public long CopiedBytes { get; }

    /// <summary>
    /// The verdicts on the bitmaps that it touched, over the chain as it is afterwards (of a copy: over the chain that was copied): which
    /// are valid, and what helps where one is not.
    /// </summary>
    public IReadOnlyList<BitmapVerdict> Verdicts { get; internal init; } = [];

    /// <summary>The image that names another backing file afterwards; null where none does.</summary>
    public string? RebasedImage { get; internal init; }

    /// <summary>The name that it has for that, as it is stored; null for none.</summary>
    public string? BackingFile { get; internal init; }
}
