namespace Qcow2Bitmaps;

/// <summary>What a program needs to word the remedy for a bitmap. Immutable.</summary>
public sealed record RemedyDetails
{
    internal RemedyDetails()
    {
    }

    /// <summary>The path of the chain's top image.</summary>
    public required string TopPath { get; init; }

    /// <summary>
    /// Another image that the remedy is about, by its path. Of <see cref="Remedy.Repair"/> the one to repair. Of
    /// <see cref="Remedy.Pull"/> the lowest one whose disk has another size. Of <see cref="Remedy.Delete"/> the one where the bitmap was
    /// added, if the bitmap can be rebuilt for callers who know that this image was neither emptied nor rebased since. Else null.
    /// </summary>
    public string? ImagePath { get; init; }

    /// <summary>The index of <see cref="ImagePath"/> in the chain, from the top image, which is 0.</summary>
    public int? ImageIndex { get; init; }

    /// <summary>
    /// Of <see cref="Remedy.Pull"/>, the path of the image below <see cref="ImagePath"/>; null where that is the last one.
    /// </summary>
    public string? BasePath { get; init; }

    /// <summary>Of <see cref="Remedy.Pull"/>, whether a commit of the images above into <see cref="ImagePath"/> helps too.</summary>
    public bool CanCommit { get; init; }

    /// <summary>Of <see cref="Remedy.PopulateSince"/>, bitmaps that may be older, a few of them.</summary>
    public IReadOnlyList<string> OlderBitmaps { get; init; } = [];

    /// <summary>Whether the <see cref="OlderBitmaps"/> are valid; else the chosen one has to be rebuilt first.</summary>
    public bool AreOlderValid { get; init; }
}
