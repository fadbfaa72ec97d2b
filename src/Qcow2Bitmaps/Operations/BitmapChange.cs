using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Operations;

/// <summary>What an operation on a chain did to a bitmap in one of its images.</summary>
public sealed record BitmapChange
{
    internal BitmapChange(string name, BitmapChangeKind kind, string image, string? detail = null) =>
        (Name, Kind, Image, Detail) = (name, kind, image, detail);

    /// <summary>The bitmap's name, as the image stores it: <see cref="ImageText.Escape"/> makes it printable.</summary>
    public string Name { get; }

    /// <summary>What was done.</summary>
    public BitmapChangeKind Kind { get; }

    /// <summary>The image's path.</summary>
    public string Image { get; }

    /// <summary>Why, or with what effect, in words; null where there is nothing to add.</summary>
    public string? Detail { get; }

    /// <summary>One line with all the information.</summary>
    public override string ToString() => PrintableMessage.Of(
        $"Bitmap '{Name}' in '{Image}': {KebabCase.From(Kind.ToString())}{(Detail is null ? "" : $" ({Detail})")}");
}
