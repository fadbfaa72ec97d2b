using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Tests.Operations;

/// <content>Our operations.</content>
internal sealed partial class TruthWorld
{
    private async Task SnapshotAsync()
    {
        string path = NewFile();
        await using (ChainSnapshot snapshot = await ChainSnapshot.OpenAsync(Active, path, cancellationToken: Token))
        {
            await snapshot.RunAsync(cancellationToken: Token);
        }

        _layers.Insert(0, path);
    }

    private async Task DeleteAsync(string name)
    {
        await using ChainBitmaps removal = await ChainBitmaps.OpenAsync(Active, [name], cancellationToken: Token);
        if (!ChainBitmaps.Holders(removal.Chain, [name]).Any())
        {
            await Assert.ThrowsAsync<BitmapStateException>(() => removal.RunAsync(cancellationToken: Token));
            return;
        }

        await removal.RunAsync(cancellationToken: Token);
        _checkpoints.Remove(name);
        Assert.Empty(ChainBitmaps.Holders(removal.Chain, [name]));
    }

    private async Task PopulateAsync(string name)
    {
        bool allDirty = false;
        while (true)
        {
            try
            {
                // No image is emptied here: what each was born with is there.
                await using ChainPopulate populate = await ChainPopulate.OpenAsync(
                    Active, name, allDirty, trustsBirth: true, cancellationToken: Token);
                await populate.RunAsync(cancellationToken: Token);
                Log("  done");
                break;
            }
            catch (BitmapStateException e)
            {
                Log($"  refused: {e.Message}");
                if (allDirty || Below(2) == 0)
                {
                    return;
                }

                allDirty = true;
            }
        }

        await using ImageChain populated = await ImageChain.OpenAsync(Active, cancellationToken: Token);
        BitmapVerdict verdict = await populated.JudgeBitmapAsync(name, cancellationToken: Token);
        Assert.True(verdict.IsValid, verdict.ToString());
    }

    private async Task CommitAsync()
    {
        if (_layers.Count == 1)
        {
            return;
        }

        int top = Below(_layers.Count - 1);
        int target = top + 1 + Below(_layers.Count - top - 1);
        bool dropBitmaps = Below(2) == 0;
        if (top == 0 && FormatOf(_layers[target]) == "raw")
        {
            // Raw files are not written here.
            return;
        }

        await OurAsync(
            $"commit {Path.GetFileName(_layers[top])} into {Path.GetFileName(_layers[target])}{(dropBitmaps ? " dropping bitmaps" : "")}",
            async () =>
        {
            var options = new MergeOptions { TopPath = _layers[top], BasePath = _layers[target], DropBitmaps = dropBitmaps };
            await using (ChainCommit commit = await ChainCommit.OpenAsync(Active, options, cancellationToken: Token))
            {
                try
                {
                    ChainResult result = await commit.RunAsync(cancellationToken: Token);
                    _log.AddRange(result.Bitmaps.Select(static change => $"  {change}"));
                }
                catch (BitmapStateException e)
                {
                    Log($"  refused: {e.Message}");
                    return;
                }
                catch (Qcow2UnsupportedException e) when (e.Reason == UnsupportedReason.Version2)
                {
                    Log($"  refused: {e.Message}");
                    return;
                }
            }

            Drop(top, target);
        }, mayDrop: dropBitmaps, mayGrow: top == 0);
    }

    private async Task PullAsync()
    {
        int top = RandomTop();
        int end = top + 1 + Below(_layers.Count - top);
        bool disablesGaps = Below(3) == 0;
        await OurAsync(
            $"pull into {Path.GetFileName(_layers[top])} down to {(end == _layers.Count ? "none" : Path.GetFileName(_layers[end]))}, "
            + $"{(disablesGaps ? "Disable" : "Mark")}",
            async () =>
        {
            var options = new MergeOptions
            {
                TopPath = _layers[top],
                BasePath = end == _layers.Count ? null : _layers[end],
                DisablesGaps = disablesGaps,
            };
            await using (ChainRebase pull = await ChainRebase.OpenPullAsync(Active, options, cancellationToken: Token))
            {
                try
                {
                    ChainResult result = await pull.RunAsync(cancellationToken: Token);
                    _log.AddRange(result.Bitmaps.Select(static change => $"  {change}"));
                }
                catch (BitmapStateException e) when (pull.Chain.Layers[top].RequireImage().Header.Version < 3)
                {
                    Log($"  refused: {e.Message}");
                    return;
                }
            }

            Drop(top + 1, end);
        });
    }

    private async Task RebaseAsync()
    {
        int top = RandomTop();
        int end = top + 1 + Below(_layers.Count - top);
        bool disablesGaps = Below(3) == 0;
        string? backing = end == _layers.Count ? null : _layers[end];
        bool isOther = backing is null && Below(2) == 0;
        bool isOld = false;
        if (isOther)
        {
            await tools.CreateAsync(backing = NewFile(), RandomOptions(mayBeOld: true) with { SizeBytes = RandomSize() });
            await tools.WriteAsync(
                backing,
                [
                    new TruthWrite(TruthWriteKind.Data, 100 << 10, 300 << 10, 77),
                    new TruthWrite(TruthWriteKind.Data, 800 << 10, 64 << 10, 78),
                ]);
            if (Below(2) == 0)
            {
                await tools.BitmapAsync(backing, "add", "a", 65536);
            }
        }

        await OurAsync(
            $"rebase {Path.GetFileName(_layers[top])} onto {(isOther ? "another " : "")}{Path.GetFileName(backing)}, "
            + $"{(disablesGaps ? "Disable" : "Mark")}",
            async () =>
        {
            try
            {
                var options = new MergeOptions { TopPath = _layers[top], BasePath = backing, DisablesGaps = disablesGaps };
                await using ChainRebase rebase = await ChainRebase.OpenRebaseAsync(Active, options, cancellationToken: Token);
                isOld = rebase.Chain.Layers[top].RequireImage().Header.Version < 3;
                ChainResult result = await rebase.RunAsync(cancellationToken: Token);
                _log.AddRange(result.Bitmaps.Select(static change => $"  {change}"));
            }
            catch (Qcow2UnsupportedException e) when (e.Reason == UnsupportedReason.NoRoomInHeader)
            {
                // Images without a backing file have no place in their first sector for a format's name.
                Log($"  refused: {e.Message}");
                return;
            }
            catch (BitmapStateException e) when (isOld)
            {
                Log($"  refused: {e.Message}");
                return;
            }

            Drop(top + 1, end);
            if (isOther)
            {
                _layers.Add(backing!);
            }
        }, mayDrop: isOther);
    }

    /// <summary>A qcow2 image of the chain, often the active one.</summary>
    private int RandomTop() => Below(2) == 0 ? 0 : Below(_layers.Count(static path => FormatOf(path) == "qcow2"));

    private void Drop(int start, int end)
    {
        foreach (string path in _layers.GetRange(start, end - start))
        {
            File.Delete(path);
        }

        _layers.RemoveRange(start, end - start);
    }
}
