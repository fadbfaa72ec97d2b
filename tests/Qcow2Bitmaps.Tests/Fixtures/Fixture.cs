namespace Qcow2Bitmaps.Tests.Fixtures;

/// <summary>A committed test image and what is known about it.</summary>
public sealed record Fixture(string RelativePath, string Format, long VirtualSizeBytes, string Description)
{
    /// <summary>Gets the bitmaps in the order of the bitmap directory; none where QEMU ignores them.</summary>
    public IReadOnlyList<FixtureBitmap> Bitmaps { get; init; } = [];

    /// <summary>Gets the absolute path of the image.</summary>
    public string Path => System.IO.Path.Combine(FixtureFiles.Root, RelativePath);

    /// <summary>Gets the absolute path of its golden files, without their extensions.</summary>
    public string GoldenPath =>
        System.IO.Path.ChangeExtension(System.IO.Path.Combine(FixtureFiles.Root, "golden", RelativePath), null);

    /// <inheritdoc/>
    public override string ToString() => RelativePath;
}
