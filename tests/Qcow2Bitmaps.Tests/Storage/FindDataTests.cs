using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Storage;

/// <summary>Holes are found where the file system has them; storage that knows of none says that all is data.</summary>
public sealed class FindDataTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AFileTellsItsHoles()
    {
        using var folder = new TempFolder();
        await using var storage = FileStorage.Open(folder.Write("a", new byte[4096]), FileAccess.ReadWrite);
        await storage.SetLengthAsync(1L << 30, Token);
        await storage.WriteAsync(1 << 20, new byte[] { 1 }, Token);

        StorageRange first = Assert.NotNull(await storage.FindDataAsync(100, Token));
        StorageRange second = Assert.NotNull(await storage.FindDataAsync(first.EndOffset, Token));

        Assert.SkipWhen(first.EndOffset == 1L << 30, "This file system keeps no holes");
        Assert.Equal(new StorageRange(100, 4096), first);
        Assert.InRange(second.Offset, 4097, 1 << 20);
        Assert.InRange(second.EndOffset, (1 << 20) + 1, (1 << 20) + (1 << 16));
        Assert.Null(await storage.FindDataAsync(second.EndOffset, Token));
        Assert.Null(await storage.FindDataAsync(1L << 40, Token));
    }

    [Fact]
    public async Task MemoryIsAllData()
    {
        await using var storage = new MemoryStorage(new byte[100]);

        Assert.Equal(new StorageRange(10, 100), await storage.FindDataAsync(10, Token));
        Assert.Null(await storage.FindDataAsync(100, Token));
    }
}
