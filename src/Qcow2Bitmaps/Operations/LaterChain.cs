using Qcow2Bitmaps.Chains;

namespace Qcow2Bitmaps.Operations;

/// <summary>Judges bitmaps over a future chain, before a header is changed to form it.</summary>
internal static class LaterChain
{
    /// <summary>Judges the bitmaps of an image, in their order, over its chain as that will be when its disk has another size.</summary>
    public static async ValueTask<IReadOnlyList<BitmapVerdict>> JudgeResizedAsync(
        Qcow2Image image, long sizeBytes, ImageChain below, CancellationToken cancellationToken)
    {
        var top = new Qcow2Layer(0, image.Handle.Storage, image, isFormatProbed: false, isOpenForWritingElsewhere: false, sizeBytes);
        return await JudgeIndexedAsync(
            [top, .. below.Layers.Select(static (layer, index) => layer.At(index + 1))], image.Bitmaps.Select(static bitmap => bitmap.Name),
            cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Judges the bitmaps that an operation touched, over images of whatever chains, top first.</summary>
    public static ValueTask<IReadOnlyList<BitmapVerdict>> JudgeAsync(
        IEnumerable<ChainLayer> layers, IEnumerable<BitmapChange> changes, CancellationToken cancellationToken) =>
        JudgeIndexedAsync(
            [.. layers.Select(static (layer, index) => layer.At(index))], changes.Select(static change => change.Name), cancellationToken);

    private static async ValueTask<IReadOnlyList<BitmapVerdict>> JudgeIndexedAsync(
        IReadOnlyList<ChainLayer> layers, IEnumerable<string> names, CancellationToken cancellationToken)
    {
        var verdicts = new List<BitmapVerdict>();
        foreach (string name in names.Distinct(StringComparer.Ordinal))
        {
            verdicts.Add(await TableJudge.JudgeAsync(layers, name, VerdictProfile.Libvirt, cancellationToken).ConfigureAwait(false));
        }

        return verdicts;
    }
}
