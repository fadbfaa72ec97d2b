using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Tests.Operations;

/// <content>Our operations.</content>
internal sealed partial class TruthWorld
{
    private async Task SnapshotAsync()
    {
        string path = NewFile();
        await using (ImageChain chain = await ImageChain.OpenAsync(Active, cancellationToken: Token))
        {
            await ChainSnapshot.CreateAsync(chain, path, cancellationToken: Token);
        }

        _layers.Insert(0, path);
    }

    private async Task DeleteAsync(string name)
    {
        await using ImageChain chain = await ChainAccess.OpenAsync(
            Active, ChainOpenOptions.Default, chain => ChainBitmaps.Holders(chain, [name]), Token);
        if (!ChainBitmaps.Holders(chain, [name]).Any())
        {
            await Assert.ThrowsAsync<BitmapStateException>(async () => await ChainBitmaps.DeleteAsync(chain, [name], Token));
            return;
        }

        await ChainBitmaps.DeleteAsync(chain, [name], Token);
        _checkpoints.Remove(name);
        Assert.Empty(ChainBitmaps.Holders(chain, [name]));
    }

    private async Task PopulateAsync(string name)
    {
        bool allDirty = false;
        while (true)
        {
            try
            {
                await using ImageChain chain = await ChainAccess.OpenAsync(
                    Active, ChainOpenOptions.Default,
                    async chain => ChainBitmaps.Holders(chain, [name]).Any() ? await ChainPopulate.FindImagesAsync(chain, name, Token) : [],
                    Token);
                // No image is emptied here: what each was born with is there.
                await ChainPopulate.RunAsync(chain, name, allDirty, trustsBirth: true, Token);
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
            await using (ImageChain chain = await ChainAccess.OpenAsync(
                Active, ChainOpenOptions.Default, look => ChainCommit.WritableLayers(look, top, target), Token))
            {
                try
                {
                    ChainResult result = await ChainCommit.RunAsync(
                        chain, top, target, new CommitOptions { DropBitmaps = dropBitmaps }, cancellationToken: Token);
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
        GapPolicy gaps = Below(3) == 0 ? GapPolicy.Disable : GapPolicy.Mark;
        await OurAsync(
            $"pull into {Path.GetFileName(_layers[top])} down to {(end == _layers.Count ? "none" : Path.GetFileName(_layers[end]))}, "
            + $"{gaps}",
            async () =>
        {
            await using (ImageChain chain = await ChainAccess.OpenAsync(
                Active, ChainOpenOptions.Default, chain => ChainRebase.WritableLayers(chain, top), Token))
            {
                try
                {
                    ChainResult result = await ChainRebase.PullAsync(
                        chain, end == _layers.Count ? null : end, new RebaseOptions { Top = top, Gaps = gaps }, cancellationToken: Token);
                    _log.AddRange(result.Bitmaps.Select(static change => $"  {change}"));
                }
                catch (BitmapStateException e) when (chain.Layers[top].RequireImage().Header.Version < 3)
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
        GapPolicy gaps = Below(3) == 0 ? GapPolicy.Disable : GapPolicy.Mark;
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
            $"rebase {Path.GetFileName(_layers[top])} onto {(isOther ? "another " : "")}{Path.GetFileName(backing)}, {gaps}", async () =>
        {
            try
            {
                await using ImageChain chain = await ChainAccess.OpenAsync(
                    Active, ChainOpenOptions.Default, chain => ChainRebase.WritableLayers(chain, top), Token);
                isOld = chain.Layers[top].RequireImage().Header.Version < 3;
                await using ImageChain? below = backing is null ? null : await ImageChain.OpenAsync(backing, cancellationToken: Token);
                ChainResult result = await ChainRebase.RebaseAsync(
                    chain, below, new RebaseOptions { Top = top, Gaps = gaps }, cancellationToken: Token);
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
