using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>Whether a bitmap is valid over a chain; if not, why, in which image, and what the remedy is. Immutable.</summary>
public sealed record BitmapVerdict
{
    internal BitmapVerdict()
    {
    }

    /// <summary>The bitmap's name, as the image stores it: <see cref="ImageText.Escape"/> makes it printable.</summary>
    public required string Name { get; init; }

    /// <summary>
    /// The indexes in <see cref="ImageChain.Layers"/> of the images that hold the bitmap, top first; for a valid bitmap, they are
    /// contiguous from the top.
    /// </summary>
    public required IReadOnlyList<int> ImageIndexes { get; init; }

    /// <summary>Why it is not valid; null when it is.</summary>
    public InvalidReason? Reason { get; init; }

    /// <summary>
    /// The index of the image at fault: for a gap, the topmost image without the bitmap, otherwise the one that the reason refers to. Null
    /// when valid.
    /// </summary>
    public int? ImageIndex { get; init; }

    /// <summary>A description of what was found. Null when valid, unless <see cref="SizesDiffer"/>.</summary>
    public string? Detail { get; init; }

    /// <summary>
    /// Whether the images of a valid bitmap have different disk sizes. libvirt's rules allow that, and this library can back up by such a
    /// bitmap, but QEMU refuses to merge bitmaps of different sizes, so that a backup of a running machine fails.
    /// </summary>
    public bool SizesDiffer { get; init; }

    /// <summary>The remedy; null when the bitmap is valid and its sizes do not differ.</summary>
    public Remedy? Remedy { get; init; }

    /// <summary>What a program needs to word the remedy; null where <see cref="Remedy"/> is.</summary>
    public RemedyDetails? RemedyDetails { get; init; }

    /// <summary>Whether an incremental backup may rely on the bitmap.</summary>
    public bool IsValid => Reason is null;

    /// <summary>One line with the name and the verdict.</summary>
    public override string ToString() => PrintableMessage.Of(
        $"Bitmap '{Name}' is {Describe()}");

    private string Describe() => Reason is { } reason ? $"not valid ({KebabCase.From(reason.ToString())}): {Detail}"
        : Detail is null ? "valid"
        : $"valid, but {Detail}";
}
