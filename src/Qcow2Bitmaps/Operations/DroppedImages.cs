using Qcow2Bitmaps.Chains;

namespace Qcow2Bitmaps.Operations;

/// <summary>Transfers to an image's bitmaps what images recorded that are about to leave the chain.</summary>
/// <param name="chain">The chain as it is.</param>
/// <param name="top">The image from which they leave; there may be others above it.</param>
/// <param name="dropped">The images that leave it.</param>
/// <param name="below">The images that lie below the top afterwards.</param>
/// <param name="disablesGaps">As of <see cref="MergeOptions.DisablesGaps"/>.</param>
internal sealed class DroppedImages(
    ImageChain chain, ChainLayer top, IReadOnlyList<ChainLayer> dropped, IReadOnlyList<ChainLayer> below, bool disablesGaps)
{
    private const long DefaultGranularityBytes = 65536;

    private readonly BitmapEdit _edit = new();
    private readonly List<BitmapChange> _changes = [];
    // What the images that leave hide of those below them.
    private DirtyBitmap _hides = new(0, DefaultGranularityBytes);

    /// <summary>The images of the new chain that are not in the old one: their bitmaps record another disk's changes.</summary>
    private IEnumerable<ChainLayer> Newcomers => below
        .Where(layer =>
            !chain.Layers.Any(
                old => ReferenceEquals(old, layer) || (layer.Storage.Key is { } identity && old.Storage.Key == identity)));

    /// <summary>
    /// Bitmaps that leaving images hold and the top does not, but images above it or of the new chain do: theirs would look complete, at
    /// once or after populating.
    /// </summary>
    private IEnumerable<BitmapInfo> LostBitmaps => StoredBits.FindLost(dropped, [.. chain.Layers.Take(top.Index), .. Newcomers])
        .Where(bitmap => !top.Holds(bitmap.Name));

    /// <summary>Edits the bitmaps of the top image, before the images leave, and those of longer images above it.</summary>
    /// <exception cref="BitmapStateException">The top image would have to hold a bitmap, and is of version 2.</exception>
    public async ValueTask<IReadOnlyList<BitmapChange>> StoreAsync(
        ChainDisk map, int endDepth, IEnumerable<(int Layer, long Start, long End)> overhangs, CancellationToken cancellationToken)
    {
        if (dropped.Count == 0 || chain.Layers.Take(top.Index + 1).Concat(Newcomers).All(static layer => !layer.Bitmaps.Any()))
        {
            return [];
        }

        long smallest = top.Bitmaps.Select(static bitmap => bitmap.GranularityBytes).DefaultIfEmpty(DefaultGranularityBytes).Min();
        (_, _hides) = await SubchainRanges.CollectAsync(
            map, endDepth, top.VirtualSizeBytes, smallest, cancellationToken).ConfigureAwait(false);
        foreach (BitmapInfo bitmap in top.Bitmaps.DistinctBy(static bitmap => bitmap.Name, StringComparer.Ordinal))
        {
            await PlanAsync(bitmap, cancellationToken).ConfigureAwait(false);
        }

        foreach (BitmapInfo bitmap in LostBitmaps)
        {
            if (top.RequireImage().Header.Version < 3)
            {
                throw new BitmapStateException(
                    bitmap.Name,
                    $"Bitmap '{bitmap.Name}' is lost with the images that leave the chain, and other images hold one of that name: "
                    + $"{top} is of version 2 and cannot say that bits are lost; delete the bitmap first");
            }

            _edit.AddCarried(bitmap.Name, bitmap.GranularityBytes, isRecording: false);
            Tell(
                bitmap, BitmapChangeKind.Disabled,
                "it was not valid, and would look valid with those of the same name in the other images");
            await RecordAsync(bitmap, cancellationToken).ConfigureAwait(false);
        }

        await Overhangs.MarkAsync(chain, overhangs, dropped, _changes, cancellationToken).ConfigureAwait(false);
        await top.RequireImage().Bitmaps.EditAsync(_edit, cancellationToken).ConfigureAwait(false);
        return _changes;
    }

    /// <summary>Plans what becomes of one bitmap of the top.</summary>
    private async ValueTask PlanAsync(BitmapInfo bitmap, CancellationToken cancellationToken)
    {
        string name = bitmap.Name;
        if (bitmap.State == BitmapState.Inconsistent || bitmap.Faults.Count > 0)
        {
            // It can take no bits, and populating would not know of what leaves: all dirty, which populating keeps.
            _edit.Replace(name, bitmap.GranularityBytes, isRecording: false).Set(name, 0, top.VirtualSizeBytes);
            Tell(
                bitmap, BitmapChangeKind.Disabled,
                "it cannot be used, and the record of the images that leave the chain is lost: all of it is dirty");
            return;
        }

        bool isRecording = bitmap.State != BitmapState.Disabled;
        if (isRecording
            && await JudgeAsync([.. chain.Layers.Skip(top.Index)], name, cancellationToken).ConfigureAwait(false)
                is { IsValid: true } verdict)
        {
            foreach (ChainLayer layer in dropped.Where(layer => verdict.ImageIndexes.Contains(layer.Index)))
            {
                _edit.Merge(layer.RequireImage(), name, name);
                Tell(bitmap, BitmapChangeKind.Merged, $"from {layer.Path}");
            }

            _edit.Merge(_hides, name);
            return;
        }

        ChainLayer? untold = await RecordAsync(bitmap, cancellationToken).ConfigureAwait(false);
        if (!isRecording || !(await JudgeAsync([top, .. below], name, cancellationToken).ConfigureAwait(false)).IsValid)
        {
            // An image that stays may leave later, and what is missing here with it.
            Tell(bitmap, BitmapChangeKind.Marked, "what the images that leave the chain hold; it is still not valid");
        }
        else if (!disablesGaps && untold is null)
        {
            Tell(bitmap, BitmapChangeKind.Marked, "what the images that leave the chain hold and did not record");
        }
        else
        {
            _edit.Disable(name);
            Tell(
                bitmap, BitmapChangeKind.Disabled,
                untold is null
                    ? "it is not valid, and would look so"
                    : $"it is not valid, and what changed in {untold.Path} cannot be told: {RebuildRules.WhyUnsound(untold)}");
        }
    }

    /// <summary>
    /// Marks in a bitmap of the top image what changed in the leaving images, if that is known; otherwise everything. Populating a
    /// disabled bitmap keeps its bits.
    /// </summary>
    /// <returns>An image whose changes are unknown; null if there is none.</returns>
    private async ValueTask<ChainLayer?> RecordAsync(BitmapInfo bitmap, CancellationToken cancellationToken)
    {
        var bits = new DirtyBitmap(top.VirtualSizeBytes, bitmap.GranularityBytes);
        foreach (ChainLayer layer in dropped)
        {
            await StoredBits.MergeAsync(layer, bitmap.Name, _edit, top.VirtualSizeBytes, cancellationToken).ConfigureAwait(false);
            if (await TableJudge.IsUsableAsync(layer, bitmap.Name, cancellationToken).ConfigureAwait(false))
            {
                continue;
            }

            if (RebuildRules.WhyUnsound(layer) is not null)
            {
                _edit.Set(bitmap.Name, 0, top.VirtualSizeBytes);
                return layer;
            }

            await ChainPopulate.MarkAllocatedAsync(chain, layer.Index, bits, cancellationToken).ConfigureAwait(false);
        }

        _edit.Merge(bits, bitmap.Name).Merge(_hides, bitmap.Name);
        return null;
    }

    private static ValueTask<BitmapVerdict> JudgeAsync(IReadOnlyList<ChainLayer> over, string name, CancellationToken cancellationToken) =>
        TableJudge.JudgeAsync(over, name, VerdictProfile.Libvirt, cancellationToken);

    private void Tell(BitmapInfo bitmap, BitmapChangeKind kind, string detail) =>
        _changes.Add(new BitmapChange(bitmap.Name, kind, top.Path, detail));
}
