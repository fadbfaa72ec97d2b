using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Chains;

/// <summary>Judges bitmaps by their directory entries and, where those are in order, by their tables.</summary>
internal static class TableJudge
{
    /// <summary>Judges one bitmap over some of the images, as if they were the chain.</summary>
    public static async ValueTask<BitmapVerdict> JudgeAsync(
        IReadOnlyList<ChainLayer> layers, string name, VerdictProfile profile, CancellationToken cancellationToken) =>
        await RemedyJudge.CompleteAsync(
            layers, await JudgeStoredAsync(layers, name, profile, cancellationToken).ConfigureAwait(false),
            cancellationToken).ConfigureAwait(false);

    private static async ValueTask<BitmapVerdict> JudgeStoredAsync(
        IReadOnlyList<ChainLayer> layers, string name, VerdictProfile profile, CancellationToken cancellationToken)
    {
        BitmapVerdict verdict = BitmapJudge.Judge(layers, name, profile);
        if (!verdict.IsValid)
        {
            return verdict;
        }

        // Not by their indexes: the images may be those of several chains.
        foreach (ChainLayer layer in layers.Where(layer => layer.Holds(name)))
        {
            if (await WhyUnreadableAsync(layer, name, cancellationToken).ConfigureAwait(false) is { } fault)
            {
                return BitmapJudge.Unreadable(layers, name, layer, fault);
            }
        }

        return verdict;
    }

    /// <summary>Whether an image's bitmap is a reliable record of changes: it is recording, and its table can be read.</summary>
    public static async ValueTask<bool> IsUsableAsync(ChainLayer layer, string name, CancellationToken cancellationToken) =>
        layer is Qcow2Layer { Image: var image } && image.Bitmaps.TryGet(name, out BitmapInfo? bitmap)
            && bitmap.State == BitmapState.Recording && await HasBitsAsync(layer, name, cancellationToken).ConfigureAwait(false);

    /// <summary>Whether an image's bitmap, recording or disabled, was saved completely and can be read.</summary>
    public static async ValueTask<bool> HasBitsAsync(ChainLayer layer, string name, CancellationToken cancellationToken) =>
        layer is Qcow2Layer { Image: var image } && image.Bitmaps.TryGet(name, out BitmapInfo? bitmap)
            && bitmap.State != BitmapState.Inconsistent && bitmap.Faults.Count == 0
            && await WhyUnreadableAsync(layer, name, cancellationToken).ConfigureAwait(false) is null;

    /// <summary>What is wrong with a bitmap's table; null when it can be read.</summary>
    private static async ValueTask<string?> WhyUnreadableAsync(ChainLayer layer, string name, CancellationToken cancellationToken)
    {
        if (layer.RequireImage().Bitmaps.HaveOverlappingTables)
        {
            return "the tables of the image's bitmaps overlap, together they are longer than the file";
        }

        try
        {
            // Strict even for a lenient reader: a bitmap with a broken table is not a record of changes.
            await layer.RequireImage().Bitmaps.OpenPagesAsync(
                name, new FaultLog(Strictness.AsQemu, layer.Path), cancellationToken).ConfigureAwait(false);
            return null;
        }
        catch (Qcow2FormatException e)
        {
            return e.Fault.ToString();
        }
    }
}
