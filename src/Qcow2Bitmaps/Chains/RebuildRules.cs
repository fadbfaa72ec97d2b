namespace Qcow2Bitmaps.Chains;

/// <summary>Where a bitmap can be rebuilt from what images have allocated, and where that would be no superset of what changed.</summary>
internal static class RebuildRules
{
    /// <summary>The image where a bitmap was born: the lowest that holds it; null where none does.</summary>
    public static ChainLayer? FindBirth(IReadOnlyList<ChainLayer> layers, string name) =>
        layers.LastOrDefault(layer => layer.Holds(name));

    /// <summary>The images from the one where a bitmap was born up to the top that hold no usable one, from the bottom up.</summary>
    public static async ValueTask<IReadOnlyList<ChainLayer>> FindUnusableAsync(
        IReadOnlyList<ChainLayer> layers, string name, CancellationToken cancellationToken)
    {
        ChainLayer? birth = FindBirth(layers, name);
        var images = new List<ChainLayer>();
        foreach (ChainLayer layer in layers.Reverse().SkipWhile(layer => layer != birth))
        {
            if (!await TableJudge.IsUsableAsync(layer, name, cancellationToken).ConfigureAwait(false))
            {
                images.Add(layer);
            }
        }

        return images;
    }

    /// <summary>Why an image's allocation is no superset of its changes; null when it is.</summary>
    public static string? WhyUnsound(ChainLayer layer) =>
        layer is not Qcow2Layer { Image: var image } ? "it is raw"
        : image.Header.Version < 3 ? "it is of version 2, whose discards leave no trace"
        : image.BackingFile is null ? "it has no backing file, and what is discarded there is no longer allocated"
        : image.Snapshots.Count > 0 ? "it has internal snapshots, and one of them may have been applied"
        : null;

    /// <summary>Why no bitmap can be made in an image; null when one can.</summary>
    public static string? WhyImpossible(ChainLayer layer) =>
        layer is not Qcow2Layer { Image: var image } ? "a raw image holds no bitmaps"
        : image.Header.Version < 3 ? "an image of version 2 holds no bitmaps"
        : layer.IsOpenForWritingElsewhere ? "it is open for writing in another process"
        : null;
}
