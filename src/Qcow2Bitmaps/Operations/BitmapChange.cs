using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Operations;

/// <summary>What an operation on a chain did to a bitmap in one of its images.</summary>
/// <param name="Name">The bitmap's name.</param>
/// <param name="Kind">What was done.</param>
/// <param name="Image">The image's path.</param>
/// <param name="Detail">Why, or with what effect, in words; null where there is nothing to add.</param>
public sealed record BitmapChange(string Name, BitmapChangeKind Kind, string Image, string? Detail = null)
{
    /// <summary>The kind as scripts should read it, for example <c>left-behind</c>.</summary>
    public string KindId => KebabCase.From(Kind.ToString());

    /// <summary>One line with all of it.</summary>
    public override string ToString() => PrintableMessage.Of(
        $"Bitmap '{Name}' in '{Image}': {KindId}{(Detail is null ? "" : $" ({Detail})")}");
}
