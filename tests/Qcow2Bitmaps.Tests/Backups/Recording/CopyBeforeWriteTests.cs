using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>What a job has is what the disk was when it began.</summary>
public sealed class CopyBeforeWriteTests
{
    private const int DiskBytes = 8 << 20;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AJobThatBeginsWhileAWriteWaitsForAnotherOneGetsWhatThatOverwrites()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes);
        await using RecordingSession session = await disk.OpenAsync();
        await session.WriteAsync(1 << 20, Filled(65536, 1), Token);
        // They copy only what is about to be overwritten.
        var first = new GatedTarget(DiskBytes);
        BackupJob early = await session.StartBackupAsync(new BackupJobOptions { Sync = BackupSync.None, Target = first }, Token);
        Task write = session.WriteAsync(1 << 20, Filled(65536, 2), Token).AsTask();
        await first.Reached;
        var second = new GatedTarget(DiskBytes);
        second.Open();
        BackupJob late = await session.StartBackupAsync(new BackupJobOptions { Sync = BackupSync.None, Target = second }, Token);
        Assert.False(write.IsCompleted);
        first.Open();
        await write;
        Assert.Equal(Filled(65536, 1), first.Content[(1 << 20)..((1 << 20) + 65536)]);
        Assert.Equal(Filled(65536, 1), second.Content[(1 << 20)..((1 << 20) + 65536)]);
        early.Cancel();
        late.Cancel();
        await early.WaitAsync(Token);
        await late.WaitAsync(Token);
    }

    /// <summary>The clusters of the disk are smaller than what is copied at a time.</summary>
    [Fact]
    public async Task ZerosThatEndInsideAUnitDoNotStandForTheDataBehindThem()
    {
        var storage = new MemoryStorage();
        await Qcow2Image.CreateAsync(storage, new Qcow2CreateOptions { SizeBytes = DiskBytes, ClusterSizeBytes = 4096 }, Token);
        await using RecordingSession session = await RecordingSession.OpenAsync(
            await ImageChain.OpenAsync(storage, new ChainOpenOptions { WritableLayers = [0] }, Token), cancellationToken: Token);
        await session.WriteAsync((2 << 20) + 4096, Filled(4096, 1), Token);
        var target = new GatedTarget(DiskBytes);
        Array.Fill(target.Content, (byte)9);
        target.Open();
        BackupJob job = await session.StartBackupAsync(new BackupJobOptions { Sync = BackupSync.Full, Target = target }, Token);
        Assert.Equal(BackupJobState.Completed, await job.WaitAsync(Token));
        byte[] expected = new byte[DiskBytes];
        Filled(4096, 1).CopyTo(expected, (2 << 20) + 4096);
        Assert.Equal(expected, target.Content);
    }

    private static byte[] Filled(int length, byte value)
    {
        var bytes = new byte[length];
        Array.Fill(bytes, value);
        return bytes;
    }
}
