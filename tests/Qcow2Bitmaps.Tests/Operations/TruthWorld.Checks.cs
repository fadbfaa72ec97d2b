namespace Qcow2Bitmaps.Tests.Operations;

/// <content>What must be true after each operation.</content>
internal sealed partial class TruthWorld
{
    /// <summary>Does something of ours, and looks at what it left.</summary>
    private async Task OurAsync(string what, Func<Task> action, bool mayDrop = false, bool mayGrow = false)
    {
        if (_layers.Count >= MaxLayers && what == "snapshot")
        {
            return;
        }

        byte[] before = await ContentAsync();
        HashSet<string> validBefore = await ValidAsync();
        Log(what);
        await action();
        _content = null;
        byte[] after = await ContentAsync();
        int same = before.AsSpan().CommonPrefixLength(after);
        Assert.True(
            same == before.Length && (same == after.Length || mayGrow),
            $"The guest's byte {same} changed; {before.Length} bytes before, {after.Length} after");
        await CheckAsync();
        HashSet<string> valid = await ValidAsync();
        if (!mayDrop && !what.StartsWith("delete", StringComparison.Ordinal))
        {
            Assert.True(validBefore.IsSubsetOf(valid), $"Valid before: {string.Join(' ', validBefore)}; after: {string.Join(' ', valid)}");
        }

        await CompareAsync();
    }

    private async Task<HashSet<string>> ValidAsync()
    {
        await using ImageChain chain = await ImageChain.OpenAsync(Active, cancellationToken: Token);
        return [.. (await chain.JudgeBitmapsAsync(cancellationToken: Token)).Where(static verdict => verdict.IsValid)
            .Select(static verdict => verdict.Name)];
    }

    private Task CheckAsync() => Task.WhenAll(_layers.Where(static path => FormatOf(path) == "qcow2").Select(tools.CheckAsync));

    /// <summary>Asserts that each valid bitmap covers what differs from its checkpoint.</summary>
    private async Task CompareAsync()
    {
        byte[] now = await ContentAsync();
        await using ImageChain chain = await ImageChain.OpenAsync(Active, cancellationToken: Token);
        foreach ((string name, byte[] then) in _checkpoints)
        {
            if (!(await chain.JudgeBitmapAsync(name, cancellationToken: Token)).IsValid)
            {
                continue;
            }

            Comparisons++;
            long at = 0;
            await foreach (DirtyExtent extent in chain.ReadExtentsAsync(name, cancellationToken: Token))
            {
                AssertSame(name, then, now, at, extent.OffsetBytes);
                at = extent.EndBytes;
            }

            AssertSame(name, then, now, at, now.Length);
        }
    }

    private static void AssertSame(string name, byte[] then, byte[] now, long start, long end)
    {
        long old = Math.Clamp(then.Length, start, end);
        int same = now.AsSpan((int)start, (int)(old - start)).CommonPrefixLength(
            then.AsSpan((int)Math.Min(start, then.Length), (int)(old - start)));
        Assert.True(same == old - start, $"Bitmap '{name}' is valid and misses byte {start + same}");
        // What the disk has gained is new where it is not zeros.
        int zeros = now.AsSpan((int)old, (int)(end - old)).IndexOfAnyExcept((byte)0);
        Assert.True(zeros < 0, $"Bitmap '{name}' is valid and misses byte {old + zeros}, which the disk has gained");
    }
}
