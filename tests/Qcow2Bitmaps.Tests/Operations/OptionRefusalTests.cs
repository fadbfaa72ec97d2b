using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>What is wrong with what a caller chose is told in a way that a program can tell apart.</summary>
public sealed class OptionRefusalTests
{
    [Fact]
    public void ARateIsNotNegative()
    {
        Assert.Throws<ArgumentOutOfRangeException>(static () => new MergeOptions { BytesPerSecond = -1 });
        Assert.Throws<ArgumentOutOfRangeException>(static () => new ConversionOptions { BytesPerSecond = -1 });
        Disk target = Disk.OpenRaw(ImageStorage.InMemory());
        Assert.Throws<ArgumentOutOfRangeException>(
            () => new BackupJobOptions { BytesPerSecond = -1, Sync = BackupSync.Full, Target = target });
        Assert.Equal(0, new MergeOptions { BytesPerSecond = 0 }.BytesPerSecond);
    }

    [Fact]
    public async Task AnImageWithoutABackingFileIsNotCommitted()
    {
        using var folder = new TempFolder();
        string path = folder.File("a.qcow2");
        await Qcow2Image.CreateAsync(path, new Qcow2CreateOptions { SizeBytes = 1 << 20 }, TestContext.Current.CancellationToken);
        Qcow2UnsupportedException e = await Assert.ThrowsAsync<Qcow2UnsupportedException>(
            () => ChainCommit.OpenAsync(path, new MergeOptions(), cancellationToken: TestContext.Current.CancellationToken));
        Assert.Equal(("no-backing-file", $"'{path}' has no backing file"), (e.Id, e.Message));
    }
}
