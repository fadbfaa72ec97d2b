using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Disks;

namespace Qcow2Bitmaps.Operations;

/// <summary>The bitmaps of a commit: the base's get what is committed, and nothing looks valid that is not.</summary>
internal sealed class CommitBits
{
    private const long MostGranularityBytes = 65536;

    private readonly CommitScope _scope;
    private readonly ChainDisk _map;
    private readonly List<BitmapVerdict> _verdicts = [];
    private readonly List<BitmapChange> _changes = [];
    private readonly BitmapEdit _edit = new();

    private CommitBits(CommitScope scope, ChainDisk map) => (_scope, _map) = (scope, map);

    /// <summary>What was done, in its order.</summary>
    public IReadOnlyList<BitmapChange> Changes => _changes;

    /// <summary>Judges the bitmaps of the committed top, before anything is written.</summary>
    public static async ValueTask<CommitBits> JudgeAsync(CommitScope scope, ChainDisk map, CancellationToken cancellationToken)
    {
        var bits = new CommitBits(scope, map);
        ChainLayer[] layers = [.. scope.Chain.Layers.Skip(scope.Top)];
        foreach (BitmapInfo bitmap in scope.TopLayer.RequireImage().Bitmaps)
        {
            bits._verdicts.Add(
                await TableJudge.JudgeAsync(layers, bitmap.Name, VerdictProfile.Libvirt, cancellationToken).ConfigureAwait(false));
        }

        return bits;
    }

    /// <summary>Refuses to lose a valid bitmap, unless that is wanted.</summary>
    /// <exception cref="BitmapStateException">The base cannot hold it.</exception>
    public void RequireHolder()
    {
        if (!_scope.BaseHoldsBitmaps
            && !_scope.Options.DropBitmaps
            && _verdicts.Find(static verdict => verdict.IsValid) is { } lost)
        {
            throw new BitmapStateException(
                lost.Name,
                $"Bitmap '{lost.Name}' would be lost: {_scope.Base} is {(_scope.Base is RawLayer ? "raw" : "of version 2")} and holds no "
                + $"bitmaps");
        }
    }

    /// <summary>Marks what longer images above will no longer see hidden.</summary>
    public ValueTask MarkOverhangsAsync(CancellationToken cancellationToken) =>
        Overhangs.MarkAsync(_scope.Chain, _scope.OverhangsAbove, [.. _scope.Committed], _changes, cancellationToken);

    /// <summary>Stores in the base, by one edit, what will be true of its bitmaps; before that, closes gaps in images between.</summary>
    public async ValueTask StoreAsync(CancellationToken cancellationToken)
    {
        if (!_scope.BaseHoldsBitmaps)
        {
            foreach (BitmapVerdict verdict in _verdicts)
            {
                Tell(verdict.Name, BitmapChangeKind.LeftBehind, _scope.Base, "the base holds no bitmaps");
            }

            return;
        }

        await CloseGapsAsync(cancellationToken).ConfigureAwait(false);
        List<BitmapInfo> merged = MergeValid();
        bool IsNew(BitmapInfo bitmap) => !merged.Exists(other => string.Equals(other.Name, bitmap.Name, StringComparison.Ordinal));
        BitmapInfo[] lost = [.. _scope.LostBitmaps.Where(bitmap => IsNew(bitmap) && !_scope.Base.Holds(bitmap.Name))];
        var others = new List<BitmapInfo>();
        var unusable = new List<BitmapInfo>();
        foreach (BitmapInfo bitmap in _scope.Base.Bitmaps.Where(IsNew).DistinctBy(static bitmap => bitmap.Name, StringComparer.Ordinal))
        {
            // One that cannot be read is not valid, nor is it made so.
            bool isUsable = await TableJudge.IsUsableAsync(_scope.Base, bitmap.Name, cancellationToken).ConfigureAwait(false);
            (isUsable ? others : unusable).Add(bitmap);
        }

        foreach (BitmapVerdict left in _verdicts.Where(verdict =>
            !verdict.IsValid && !others.Concat(lost).Any(bitmap => string.Equals(bitmap.Name, verdict.Name, StringComparison.Ordinal))))
        {
            Tell(left.Name, BitmapChangeKind.LeftBehind, _scope.TopLayer, left.Detail);
        }

        long granularity = merged.Concat(others).Concat(unusable).Concat(lost)
            .Select(static bitmap => bitmap.GranularityBytes).Append(MostGranularityBytes).Min();
        (DirtyBitmap has, DirtyBitmap hides) = await CollectAsync(granularity, cancellationToken).ConfigureAwait(false);
        foreach (BitmapInfo bitmap in merged)
        {
            _edit.Merge(hides, bitmap.Name);
        }

        foreach (BitmapInfo bitmap in others)
        {
            await MarkAsync(bitmap.Name, has, hides, cancellationToken).ConfigureAwait(false);
            Tell(bitmap.Name, BitmapChangeKind.Marked, _scope.Base, "what is committed");
        }

        foreach (BitmapInfo bitmap in lost)
        {
            _edit.AddCarried(bitmap.Name, bitmap.GranularityBytes, isRecording: false);
            await MarkAsync(bitmap.Name, has, hides, cancellationToken).ConfigureAwait(false);
            Tell(bitmap.Name, BitmapChangeKind.Disabled, _scope.Base, "it was not valid, and would look valid without what is committed");
        }

        foreach (BitmapInfo bitmap in unusable)
        {
            await MarkUnusableAsync(bitmap, has, hides, cancellationToken).ConfigureAwait(false);
        }

        await _scope.Base.RequireImage().Bitmaps.EditAsync(_edit, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>If the base cannot hold bitmaps: marks lost bits in an image above.</summary>
    public async ValueTask InvalidateAboveAsync()
    {
        if (_scope.Teller is not { } teller)
        {
            return;
        }

        Qcow2Image above = teller.RequireImage();
        var edit = new BitmapEdit();
        foreach (BitmapInfo bitmap in _scope.LostBitmaps)
        {
            if (above.Bitmaps.TryGet(bitmap.Name, out BitmapInfo? there)
                && (there.State != BitmapState.Recording || there.Faults.Count > 0))
            {
                // It is not valid as it is.
                continue;
            }

            // All dirty: the changes are unknown, and populating keeps these bits.
            _ = there is null ? edit.AddCarried(bitmap.Name, bitmap.GranularityBytes, isRecording: false) : edit.Disable(bitmap.Name);
            edit.Set(bitmap.Name, 0, above.VirtualSizeBytes);
            Tell(bitmap.Name, BitmapChangeKind.Disabled, teller, "its bits of what is committed are lost");
        }

        await above.Bitmaps.EditAsync(edit, CancellationToken.None).ConfigureAwait(false);
    }

    /// <summary>Merges the valid bitmaps of the top from every image of their run.</summary>
    /// <returns>The base's, or what they are in the top where the base gets them.</returns>
    private List<BitmapInfo> MergeValid()
    {
        var merged = new List<BitmapInfo>();
        foreach (BitmapVerdict verdict in _verdicts.Where(static verdict => verdict.IsValid))
        {
            if (!_scope.Base.RequireImage().Bitmaps.TryGet(verdict.Name, out BitmapInfo? bitmap))
            {
                bitmap = InTop(verdict);
                _edit.AddCarried(verdict.Name, bitmap.GranularityBytes);
            }

            foreach (int index in verdict.ImageIndexes.Where(index => index < _scope.Target))
            {
                _edit.Merge(_scope.Chain.Layers[index].RequireImage(), verdict.Name, verdict.Name);
            }

            merged.Add(bitmap);
            Tell(verdict.Name, BitmapChangeKind.Merged, _scope.Base);
        }

        return merged;
    }

    private async ValueTask<(DirtyBitmap Has, DirtyBitmap Hides)> CollectAsync(long granularityBytes, CancellationToken cancellationToken)
    {
        (DirtyBitmap has, DirtyBitmap hides) = await SubchainRanges.CollectAsync(
            _map, _scope.Target - _scope.Top, _scope.NewSizeBytes, granularityBytes, cancellationToken,
            endSizeBytes: _scope.OldSizeBytes).ConfigureAwait(false);
        if (_map.SizeBytes < _scope.OldSizeBytes)
        {
            // Behind the top's end the disk read zeros, or did not exist.
            hides.Set(_map.SizeBytes, _scope.OldSizeBytes - _map.SizeBytes);
        }

        return (has, hides);
    }

    /// <summary>
    /// Marks all that is committed in a bitmap that is not valid over it, and what the committed images have of that bitmap: after a rebase
    /// it tells what left the chain, and the base may be another disk's image, whose bitmap of that name does not know of it.
    /// </summary>
    private async ValueTask MarkAsync(string name, DirtyBitmap has, DirtyBitmap hides, CancellationToken cancellationToken)
    {
        foreach (ChainLayer layer in _scope.Committed)
        {
            await StoredBits.MergeAsync(layer, name, _edit, _scope.NewSizeBytes, cancellationToken).ConfigureAwait(false);
        }

        _edit.Merge(has, name).Merge(hides, name);
    }

    /// <summary>
    /// Marks what is no longer hidden in a bitmap of the base that is not valid: it may lie below the base, where populating does not look.
    /// One that would be valid once its table is mended is disabled, and gets all that is committed.
    /// </summary>
    private async ValueTask MarkUnusableAsync(
        BitmapInfo bitmap, DirtyBitmap has, DirtyBitmap hides, CancellationToken cancellationToken)
    {
        bool canBeMended = bitmap.State == BitmapState.Recording;
        if (!canBeMended && hides.IsClean)
        {
            return;
        }

        if (!await TableJudge.HasBitsAsync(_scope.Base, bitmap.Name, cancellationToken).ConfigureAwait(false))
        {
            // It can take no bits.
            _edit.Replace(bitmap.Name, bitmap.GranularityBytes, isRecording: false);
            await StoredBits.MergeAsync(_scope.Base, bitmap.Name, _edit, _scope.NewSizeBytes, cancellationToken).ConfigureAwait(false);
            Tell(
                bitmap.Name, BitmapChangeKind.Disabled, _scope.Base,
                canBeMended ? "it cannot be read, and keeps its bits and gets what is committed"
                    : "it cannot be used, and keeps its bits and what was hidden");
        }

        if (canBeMended)
        {
            await MarkAsync(bitmap.Name, has, hides, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            _edit.Merge(hides, bitmap.Name);
        }
    }

    /// <summary>Makes valid bitmaps that the base is to get in the images between: in the base alone they would lie behind a gap.</summary>
    private async ValueTask CloseGapsAsync(CancellationToken cancellationToken)
    {
        foreach (ChainLayer between in _scope.Committed.Skip(1))
        {
            if (between.RequireImage().Header.Version < 3)
            {
                // This image cannot hold bitmaps, so these are below a gap until the commit is done.
                continue;
            }

            var edit = new BitmapEdit();
            foreach (BitmapVerdict verdict in _verdicts.Where(verdict =>
                verdict.IsValid && verdict.ImageIndexes[^1] < between.Index && !_scope.Base.Holds(verdict.Name)))
            {
                edit.AddCarried(verdict.Name, InTop(verdict).GranularityBytes);
                Tell(verdict.Name, BitmapChangeKind.Added, between, "so that there is no gap");
            }

            if (edit.Count > 0)
            {
                await between.RequireImage().Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private BitmapInfo InTop(BitmapVerdict verdict)
    {
        _ = _scope.TopLayer.RequireImage().Bitmaps.TryGet(verdict.Name, out BitmapInfo? bitmap);
        return bitmap!;
    }

    private void Tell(string name, BitmapChangeKind kind, ChainLayer layer, string? detail = null) =>
        _changes.Add(new BitmapChange(name, kind, layer.Path, detail));
}
