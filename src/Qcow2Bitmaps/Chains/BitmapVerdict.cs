using System.Globalization;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Chains;

/// <summary>Whether a bitmap is valid over a chain, and if not, why, in which image, and what could be done. Immutable.</summary>
public sealed record BitmapVerdict
{
    /// <summary>The bitmap's name.</summary>
    public required string Name { get; init; }

    /// <summary>The images that hold the bitmap, top first; of a valid one these are the images of its run.</summary>
    public required IReadOnlyList<int> Images { get; init; }

    /// <summary>Why it is not valid; null when it is.</summary>
    public InvalidReason? Reason { get; init; }

    /// <summary>The image at fault: of a gap the topmost image without the bitmap, else the one that the reason is about. Null when valid.</summary>
    public int? Image { get; init; }

    /// <summary>What was found, and what could be done about it, in words. Null when valid.</summary>
    public string? Detail { get; init; }

    /// <summary>Whether an incremental backup may rely on the bitmap.</summary>
    public bool IsValid => Reason is null;

    /// <summary>The reason as scripts should read it, for example <c>missing-in-top</c>; null when valid.</summary>
    public string? ReasonId => Reason is { } reason ? KebabCase.From(reason.ToString()) : null;

    /// <summary>One line with the name and the verdict.</summary>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"Bitmap '{PrintableText.Escape(Name)}' is {(IsValid ? "valid" : $"not valid ({ReasonId}): {Detail}")}");
}
