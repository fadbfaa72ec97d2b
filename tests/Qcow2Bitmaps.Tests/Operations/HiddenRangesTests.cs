using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// What a shorter image hides of a longer one below it changed when the disk grew again. Once the shorter
/// one is gone only the bitmap can tell.
/// </summary>
public sealed class HiddenRangesTests
{
    private const long ShortBytes = 1 << 20;
    private const long LongBytes = 2 << 20;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(null)]
    [InlineData(2)]
    public async Task StayDirtyWhenTheShorterImageIsPulled(int? end)
    {
        using var folder = TempFolder.InMemory();
        string[] paths = [.. new[] { "top.qcow2", "short.qcow2", "long.qcow2" }.Select(folder.File)];
        await AddAsync(paths[2], LongBytes, null);
        await AddAsync(paths[1], ShortBytes, "long.qcow2");
        await AddAsync(paths[0], LongBytes, "short.qcow2");
        var hidden = new DirtyExtent(ShortBytes, LongBytes - ShortBytes, true);
        await using (ImageChain before = await ImageChain.OpenAsync(paths[0], cancellationToken: Token))
        {
            Assert.Contains(hidden, await ReadAsync(before));
        }

        await using (ChainRebase pull = await ChainRebase.OpenPullAsync(
            paths[0], new MergeOptions { BasePath = end is { } index ? paths[index] : null }, cancellationToken: Token))
        {
            await pull.RunAsync(cancellationToken: Token);
        }

        await using ImageChain after = await ImageChain.OpenAsync(paths[0], cancellationToken: Token);
        Assert.Equal(end is null ? 1 : 2, after.Layers.Count);
        Assert.True((await after.JudgeBitmapAsync("a", cancellationToken: Token)).IsValid);
        Assert.Contains(hidden, await ReadAsync(after));
    }

    private static async Task<List<DirtyExtent>> ReadAsync(ImageChain chain) =>
        await chain.ReadExtentsAsync("a", cancellationToken: Token).ToListAsync(Token);

    private static async Task AddAsync(string path, long sizeBytes, string? backing)
    {
        await Qcow2Image.CreateAsync(
            path, new Qcow2CreateOptions { SizeBytes = sizeBytes, BackingFile = backing, BackingFormat = backing is null ? null : "qcow2" },
            Token);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token);
        await image.Bitmaps.EditAsync(static edit => edit.Add("a"), Token);
    }
}
