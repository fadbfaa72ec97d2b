using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>Committed images hold data that nothing else has until the commit is done: they are not removed or emptied before.</summary>
public sealed class CommitRemovalTests
{
    private const int SizeBytes = 1 << 20;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("opened")]
    [InlineData("measured")]
    [InlineData("cancelled")]
    [InlineData("kept")]
    public async Task WhatIsNotCommittedStays(string how)
    {
        using var folder = new TempFolder();
        await BuildAsync(folder);
        var options = new MergeOptions { KeepsImages = how == "kept" };
        ChainCommit commit = await ChainCommit.OpenAsync(
            folder.File("top.qcow2"), options, isReadOnly: how == "measured", cancellationToken: Token);
        await using (commit)
        {
            if (how == "measured")
            {
                await commit.MeasureAsync(cancellationToken: Token);
            }
            else if (how == "cancelled")
            {
                await Assert.ThrowsAnyAsync<OperationCanceledException>(() => commit.RunAsync(null, new CancellationToken(true)));
            }
            else if (how == "kept")
            {
                await commit.RunAsync(null, Token);
            }

            await Assert.ThrowsAsync<InvalidOperationException>(commit.RemoveCommittedAsync);
            if (how != "kept")
            {
                await Assert.ThrowsAsync<InvalidOperationException>(() => commit.EmptyTopAsync(Token));
            }
        }

        Assert.Equal(1, await FirstByteAsync(folder.File("top.qcow2")));
    }

    [Fact]
    public async Task AnImageThatAnotherOneWouldShowThroughIsNotEmptied()
    {
        using var folder = new TempFolder();
        await BuildAsync(folder);
        string upper = folder.File("upper.qcow2");
        await Qcow2Image.CreateAsync(
            upper, new Qcow2CreateOptions { SizeBytes = SizeBytes, BackingFile = "top.qcow2", BackingFormat = "qcow2" }, Token);
        await WriteAsync(upper, 2);
        ChainCommit commit = await ChainCommit.OpenAsync(
            upper, new MergeOptions { BasePath = folder.File("base.qcow2") }, cancellationToken: Token);
        await using (commit)
        {
            await commit.RunAsync(null, Token);
            await Assert.ThrowsAsync<InvalidOperationException>(() => commit.EmptyTopAsync(Token));
        }

        Assert.Equal(2, await FirstByteAsync(upper));
    }

    [Fact]
    public async Task WhatIsCommittedIsRemoved()
    {
        using var folder = new TempFolder();
        await BuildAsync(folder);
        ChainCommit commit = await ChainCommit.OpenAsync(folder.File("top.qcow2"), new MergeOptions(), cancellationToken: Token);
        await using (commit)
        {
            await commit.RunAsync(null, Token);
            Assert.Equal([folder.File("top.qcow2")], await commit.RemoveCommittedAsync());
        }

        Assert.False(Path.Exists(folder.File("top.qcow2")));
        Assert.Equal(1, await FirstByteAsync(folder.File("base.qcow2")));
    }

    private static async Task BuildAsync(TempFolder folder)
    {
        await Qcow2Image.CreateAsync(folder.File("base.qcow2"), new Qcow2CreateOptions { SizeBytes = SizeBytes }, Token);
        await Qcow2Image.CreateAsync(
            folder.File("top.qcow2"),
            new Qcow2CreateOptions { SizeBytes = SizeBytes, BackingFile = "base.qcow2", BackingFormat = "qcow2" }, Token);
        await WriteAsync(folder.File("top.qcow2"), 1);
    }

    private static async Task WriteAsync(string path, byte value)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(path, new ChainOpenOptions { WritableLayers = [0] }, Token);
        await using Disk writer = await chain.OpenWriterAsync(Token);
        await writer.WriteAsync(0, new[] { value }, Token);
        await writer.FlushAsync(Token);
    }

    private static async Task<int> FirstByteAsync(string path)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(path, cancellationToken: Token);
        var bytes = new byte[1];
        await chain.ReadAsync(0, bytes, Token);
        return bytes[0];
    }
}
