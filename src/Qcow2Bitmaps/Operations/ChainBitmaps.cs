using Qcow2Bitmaps.Copying;

namespace Qcow2Bitmaps.Operations;

/// <summary>Removes bitmaps from all images of a chain.</summary>
/// <remarks>
/// Images are edited from the top down, each edit atomic. An interruption leaves bitmaps that are missing in the top image, which nothing
/// takes for valid: the lower bits alone would not include all changes. Run again, the work resumes where it stopped.
/// </remarks>
public sealed class ChainBitmaps : ChainOperation
{
    private readonly IReadOnlyCollection<string> _names;

    internal ChainBitmaps(ImageChain chain, IEnumerable<string> names)
        : base(chain) => _names = [.. names.Distinct(StringComparer.Ordinal)];

    private protected override int TargetIndex => Holders(Chain, _names).DefaultIfEmpty().First();

    /// <summary>Opens a chain to remove bitmaps. Running it is refused where no image holds one of them.</summary>
    /// <param name="topPath">The top image.</param>
    /// <param name="names">The bitmaps' names.</param>
    /// <param name="open">How the chain is opened; the defaults when null. The images that hold the bitmaps are writable.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <inheritdoc cref="ChainSnapshot.OpenAsync" path="/exception"/>
    public static Task<ChainBitmaps> OpenAsync(
        string topPath, IEnumerable<string> names, ChainOpenOptions? open = null, CancellationToken cancellationToken = default) =>
        OpenAsync(topPath, open, isReadOnly: false, chain => new ChainBitmaps(chain, names), cancellationToken);

    /// <summary>Says which images hold a bitmap of some names, by their index from the top down.</summary>
    internal static IEnumerable<int> Holders(ImageChain chain, IReadOnlyCollection<string> names) =>
        chain.Layers.Where(layer => names.Any(layer.Holds)).Select(static layer => layer.Index);

    internal override ValueTask<IReadOnlyList<int>> FindWritableLayersAsync(CancellationToken cancellationToken) =>
        ValueTask.FromResult<IReadOnlyList<int>>([.. Holders(Chain, _names)]);

    internal override ChainOperation On(ImageChain standIn, MeasureDepth depth) => new ChainBitmaps(standIn, _names);

    private protected override Task<ChainMeasurement> MeasureCoreAsync(MeasureDepth depth, CancellationToken cancellationToken) =>
        base.MeasureCoreAsync(MeasureDepth.Data, cancellationToken);

    private protected override async Task<ChainResult> DoAsync(IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        if (_names.FirstOrDefault(name => !Holders(Chain, [name]).Any()) is { } missing)
        {
            throw new BitmapStateException(missing, $"Dirty bitmap '{missing}' not found in any image of the chain");
        }

        // Once an edit has extended the file, missing parts can no longer be detected.
        await Chain.RequireWholeAsync(withDataFiles: false, cancellationToken).ConfigureAwait(false);
        int[] holders = [.. Holders(Chain, _names)];
        await SpaceCheck.RequireAllAsync(this, holders, cancellationToken).ConfigureAwait(false);
        var changes = new List<BitmapChange>();
        foreach (int index in holders)
        {
            ChainLayer layer = Chain.Layers[index];
            var edit = new BitmapEdit();
            foreach (string name in _names.Where(layer.Holds))
            {
                edit.Remove(name);
                changes.Add(new BitmapChange(name, BitmapChangeKind.Removed, layer.Path));
            }

            await layer.RequireImage().Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
        }

        return new ChainResult(changes);
    }
}
