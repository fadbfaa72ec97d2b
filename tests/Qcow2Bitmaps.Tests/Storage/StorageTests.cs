using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Storage;

/// <summary>What every storage does, proven on each kind.</summary>
public sealed class StorageTests
{
    public static TheoryData<string> Kinds => ["file", "memory"];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task ReadsWhatWasWritten(string kind)
    {
        using var folder = new TempFolder();
        await using ImageStorage storage = Create(kind, folder);

        await storage.WriteAsync(1000, new byte[] { 1, 2, 3 }, Token);
        await storage.WriteAsync(10, new byte[] { 9 }, Token);
        await storage.FlushAsync(Token);

        Assert.Equal(1003, storage.Length);
        var buffer = new byte[8];
        Assert.Equal(4, await storage.ReadAsync(999, buffer, Token));
        Assert.Equal(new byte[] { 0, 1, 2, 3, 0, 0, 0, 0 }, buffer);
        Assert.Equal(1, await storage.ReadAsync(10, buffer.AsMemory(0, 1), Token));
        Assert.Equal(9, buffer[0]);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task ReadsNothingBehindTheEndAndZerosOnRequest(string kind)
    {
        using var folder = new TempFolder();
        await using ImageStorage storage = Create(kind, folder);
        await storage.WriteAsync(0, new byte[] { 1, 2, 3 }, Token);
        byte[] buffer = [7, 7, 7, 7];

        Assert.Equal(0, await storage.ReadAsync(3, buffer, Token));
        Assert.Equal(0, await storage.ReadAsync(long.MaxValue - 10, buffer, Token));
        Assert.Equal([7, 7, 7, 7], buffer);
        Assert.Equal(1, await storage.ReadZeroFilledAsync(2, buffer, Token));
        Assert.Equal([3, 0, 0, 0], buffer);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task WhatIsCutOffDoesNotComeBack(string kind)
    {
        using var folder = new TempFolder();
        await using ImageStorage storage = Create(kind, folder);
        await storage.WriteAsync(0, new byte[] { 1, 2, 3, 4 }, Token);

        await storage.SetLengthAsync(2, Token);
        Assert.Equal(2, storage.Length);
        await storage.SetLengthAsync(4, Token);

        var buffer = new byte[4];
        Assert.Equal(4, await storage.ReadAsync(0, buffer, Token));
        Assert.Equal([1, 2, 0, 0], buffer);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task ReadersAndWritersRunSideBySide(string kind)
    {
        using var folder = new TempFolder();
        await using ImageStorage storage = Create(kind, folder);
        const int Block = 4096;
        await Parallel.ForAsync(0, 64, Token, async (i, token) =>
        {
            byte[] written = [.. Enumerable.Repeat((byte)(i + 1), Block)];
            await storage.WriteAsync((long)i * Block, written, token);
            var read = new byte[Block];
            Assert.Equal(Block, await storage.ReadAsync((long)i * Block, read, token));
            Assert.Equal(written, read);
        });

        Assert.Equal(64 * Block, storage.Length);
    }

    [Fact]
    public async Task AReadOnlyStorageWritesNothing()
    {
        using var folder = new TempFolder();
        string path = folder.Write("a", [1, 2, 3]);
        await using var file = FileStorage.Open(path);
        await using var memory = MemoryStorage.ReadOnly([1, 2, 3]);
        foreach (ImageStorage storage in new ImageStorage[] { file, memory })
        {
            Assert.False(storage.CanWrite);
            await Assert.ThrowsAsync<NotSupportedException>(async () => await storage.WriteAsync(0, new byte[] { 9 }, Token));
            await Assert.ThrowsAsync<NotSupportedException>(async () => await storage.SetLengthAsync(0, Token));
            await Assert.ThrowsAsync<NotSupportedException>(async () => await storage.FlushAsync(Token));
        }

        Assert.Equal([1, 2, 3], await File.ReadAllBytesAsync(path, Token));
    }

    [Fact]
    public async Task ACancelledCallDoesNothing()
    {
        using var folder = new TempFolder();
        using var cancelled = new CancellationTokenSource();
        await cancelled.CancelAsync();
        foreach (string kind in new[] { "file", "memory" })
        {
            await using ImageStorage storage = Create(kind, folder);
            await Assert.ThrowsAnyAsync<OperationCanceledException>(
                async () => await storage.WriteAsync(0, new byte[] { 9 }, cancelled.Token));
            Assert.Equal(0, storage.Length);
        }
    }

    [Fact]
    public async Task MemoryEndsWhereArraysEnd()
    {
        await using var storage = new MemoryStorage();

        IOException error = await Assert.ThrowsAsync<IOException>(async () => await storage.SetLengthAsync(1L << 40, Token));
        Assert.Contains("1099511627776", error.Message, StringComparison.Ordinal);
    }

    private static ImageStorage Create(string kind, TempFolder folder) => kind == "memory"
        ? new MemoryStorage()
        : FileStorage.Open(folder.Write("storage", []), FileAccess.ReadWrite, ImageLock.None);
}
