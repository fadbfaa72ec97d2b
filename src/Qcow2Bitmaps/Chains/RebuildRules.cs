namespace Qcow2Bitmaps.Chains;

/// <summary>The rules for whether a bitmap can be rebuilt from the images' allocation, and whether that includes all changes.</summary>
internal static class RebuildRules
{
    /// <summary>The image where a bitmap was created: the lowest that holds it; null if none does.</summary>
    public static ChainLayer? FindBirth(IReadOnlyList<ChainLayer> layers, string name) =>
        layers.LastOrDefault(layer => layer.Holds(name));

    /// <summary>
    /// The images, bottom first, from the one where the bitmap was created up to the top, that hold no usable bitmap of that name.
    /// </summary>
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

    /// <summary>Why an image's allocation may not include all its changes; null if it does.</summary>
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
