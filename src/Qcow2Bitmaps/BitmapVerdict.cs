using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>Whether a bitmap is valid over a chain, and if not, why, in which image, and what helps. Immutable.</summary>
public sealed record BitmapVerdict
{
    internal BitmapVerdict()
    {
    }

    /// <summary>The bitmap's name.</summary>
    public required string Name { get; init; }

    /// <summary>The images that hold the bitmap, top first; of a valid one these are the images of its run.</summary>
    public required IReadOnlyList<int> Images { get; init; }

    /// <summary>Why it is not valid; null when it is.</summary>
    public InvalidReason? Reason { get; init; }

    /// <summary>
    /// The image at fault: of a gap the topmost image without the bitmap, else the one that the reason is about. Null when valid.
    /// </summary>
    public int? Image { get; init; }

    /// <summary>What was found, in words. Null when valid, unless <see cref="SizesDiffer"/>.</summary>
    public string? Detail { get; init; }

    /// <summary>
    /// Whether images of a valid bitmap have disks of different sizes. By libvirt's rules that does not matter, and backups here go by such
    /// a bitmap; but QEMU refuses to merge bitmaps of different sizes, so that a backup of a running machine fails.
    /// </summary>
    public bool SizesDiffer { get; init; }

    /// <summary>What helps; null when the bitmap is valid and its sizes do not differ.</summary>
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
