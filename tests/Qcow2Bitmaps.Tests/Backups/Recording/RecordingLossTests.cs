using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>Moments at which a bit might be lost that stands nowhere else.</summary>
public sealed class RecordingLossTests
{
    private const int DiskBytes = 4 << 20;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(BackupSync.Bitmap)]
    [InlineData(BackupSync.Full)]
    public async Task WhatATargetCannotKeepIsStillDirty(BackupSync sync)
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await disk.OpenAsync();
        await FillAsync(session, 0, DiskBytes);
        var target = new FailingTarget(DiskBytes, failsFrom: 2 << 20) { FailsFlushes = true };
        BackupJob job = await session.StartBackupAsync(
            new BackupJobOptions { Sync = sync, Bitmap = "a", BitmapMode = BitmapSyncMode.Always, Target = target }, Token);
        Assert.Equal(BackupJobState.Failed, await job.WaitAsync(Token));
        Assert.Equal(DiskBytes, session.Find("a")!.CountBytes);
    }

    [Theory]
    [InlineData(BackupSync.Bitmap)]
    [InlineData(BackupSync.Full)]
    public async Task AFlushThatFailedIsNotTriedAgain(BackupSync sync)
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await disk.OpenAsync();
        await FillAsync(session, 0, DiskBytes);
        var target = new FailingTarget(DiskBytes, failsFrom: DiskBytes) { FailsFirstFlush = true };
        BackupJob job = await session.StartBackupAsync(
            new BackupJobOptions { Sync = sync, Bitmap = "a", BitmapMode = BitmapSyncMode.Always, Target = target }, Token);
        Assert.Equal(BackupJobState.Failed, await job.WaitAsync(Token));
        Assert.Equal(DiskBytes, session.Find("a")!.CountBytes);
    }

    [Theory]
    [InlineData(BackupSync.Incremental, null)]
    [InlineData(BackupSync.Bitmap, BitmapSyncMode.Always)]
    [InlineData(BackupSync.Full, BitmapSyncMode.Always)]
    public async Task ATargetThatItsOwnerCannotCloseIsNoBackup(BackupSync sync, BitmapSyncMode? mode)
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await disk.OpenAsync();
        await FillAsync(session, 0, DiskBytes);
        var target = new FailingTarget(DiskBytes, failsFrom: DiskBytes);
        BackupJob job = await session.StartBackupAsync(
            new BackupJobOptions
            {
                Sync = sync,
                Bitmap = "a",
                BitmapMode = mode,
                Target = target,
                BeforeCompletion = _ => throw new IOException($"not closed after {target.Flushes} flush"),
            },
            Token);
        Assert.Equal(BackupJobState.Failed, await job.WaitAsync(Token));
        Assert.Equal("not closed after 1 flush", job.Error?.Message);
        Assert.Equal(DiskBytes, session.Find("a")!.CountBytes);
    }

    [Fact]
    public async Task WhatATargetHasKeptIsDurableBeforeTheBitmapForgetsIt()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await disk.OpenAsync();
        await FillAsync(session, 0, DiskBytes);
        var target = new FailingTarget(DiskBytes, failsFrom: 2 << 20);
        BackupJob job = await session.StartBackupAsync(
            new BackupJobOptions { Sync = BackupSync.Bitmap, Bitmap = "a", BitmapMode = BitmapSyncMode.Always, Target = target }, Token);
        Assert.Equal(BackupJobState.Failed, await job.WaitAsync(Token));
        Assert.Equal(2 << 20, session.Find("a")!.CountBytes);
        Assert.Equal(1, target.Flushes);
    }

    /// <summary>A kill after a checkpoint: what the image has then is what counts.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ABitmapThatLacksWhatWasMergedIntoItDoesNotLookValid(bool isRemoved)
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a", "b");
        await using RecordingSession session = await disk.OpenAsync();
        await session.DisableAsync("a", Token);
        await FillAsync(session, 65536, 65536);
        await session.StoreBitmapsAsync(Token);
        var transaction = new RecordingTransaction();
        transaction.Merge(session, "a", "b");
        if (isRemoved)
        {
            transaction.Remove(session, "b");
        }

        await transaction.CommitAsync(Token);
        IReadOnlyList<BitmapInfo> killed = await disk.BitmapsAsync();
        Assert.Equal(BitmapState.Inconsistent, killed[0].State);
        await session.StoreBitmapsAsync(Token);
        Assert.Equal(BitmapState.Disabled, (await disk.BitmapsAsync())[0].State);
    }

    [Fact]
    public async Task ABitmapThatWasEnabledDoesNotLookDisabledAndValid()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await disk.OpenAsync();
        await session.DisableAsync("a", Token);
        await session.StoreBitmapsAsync(Token);
        await session.ClearAsync("a", Token);
        Assert.Equal(BitmapState.Disabled, Assert.Single(await disk.BitmapsAsync()).State);
        await session.EnableAsync("a", Token);
        Assert.Equal(BitmapState.Inconsistent, Assert.Single(await disk.BitmapsAsync()).State);
    }

    [Fact]
    public async Task ABitmapThatGetsWhatAFullBackupHasNotCopiedDoesNotLookValidWithoutIt()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await disk.OpenAsync();
        await FillAsync(session, 0, 65536);
        await session.StoreBitmapsAsync(Token);
        var target = new FailingTarget(DiskBytes, failsFrom: 0);
        BackupJob job = await session.StartBackupAsync(
            new BackupJobOptions { Sync = BackupSync.Full, Bitmap = "a", BitmapMode = BitmapSyncMode.Always, Target = target }, Token);
        Assert.Equal(BackupJobState.Failed, await job.WaitAsync(Token));
        Assert.Equal(DiskBytes, session.Find("a")!.CountBytes);
        Assert.Equal(BitmapState.Inconsistent, Assert.Single(await disk.BitmapsAsync()).State);
    }

    [Fact]
    public async Task AJobEndsThoughTheImageCannotBeMarkedAndLeavesItsTargetToItsOwner()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a");
        var storage = new FailingStorage(disk.Storage) { IsGoneAfterwards = true };
        RecordingSession session = await RecordingSession.OpenAsync(
            await ImageChain.OpenAsync(storage, new ChainOpenOptions { WritableLayers = [0] }, Token), cancellationToken: Token);
        var target = new FailingTarget(DiskBytes, long.MaxValue);
        BackupJob job = await session.StartBackupAsync(
            new BackupJobOptions
            {
                Sync = BackupSync.Full,
                Bitmap = "a",
                BitmapMode = BitmapSyncMode.Always,
                Target = target,
                BytesPerSecond = 1,
            },
            Token);
        await session.StoreBitmapsAsync(Token);
        storage.FailingWrite = storage.Writes + 1;
        job.Cancel();
        Assert.Equal(BackupJobState.Cancelled, await job.WaitAsync(Token).WaitAsync(Patience.Limit, Token));
        Assert.False(target.IsDisposed);
        Assert.True(storage.HasFailed);
        storage.IsMended = true;
        await session.DisposeAsync();
        Assert.Equal(BitmapState.Recording, Assert.Single(await disk.BitmapsAsync()).State);
    }

    /// <summary>A later flush succeeds, though what the failed one was to write is lost.</summary>
    [Fact]
    public async Task NothingIsStoredAfterGuestDataWereLost()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a");
        var storage = new FailingStorage(disk.Storage);
        RecordingSession session = await RecordingSession.OpenAsync(
            await ImageChain.OpenAsync(storage, new ChainOpenOptions { WritableLayers = [0] }, Token), cancellationToken: Token);
        await FillAsync(session, 0, 65536);
        storage.FailingWrite = storage.Writes + 1;
        await Assert.ThrowsAsync<IOException>(async () => await session.StoreBitmapsAsync(Token));
        Assert.True(storage.HasFailed);
        await Assert.ThrowsAsync<IOException>(async () => await session.StoreBitmapsAsync(Token));
        await Assert.ThrowsAsync<IOException>(async () => await session.DisposeAsync());
        Assert.Equal(BitmapState.Inconsistent, Assert.Single(await disk.BitmapsAsync()).State);
    }

    [Fact]
    public async Task ABackupThatCannotBeginLeavesItsBitmapFree()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await disk.OpenAsync();
        var target = new FailingTarget(DiskBytes, 0) { UnitBytes = 100_000 };
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await session.StartBackupAsync(
            new BackupJobOptions { Sync = BackupSync.Full, Bitmap = "a", BitmapMode = BitmapSyncMode.Always, Target = target }, Token));
        Assert.False(session.Find("a")!.IsBusy);
    }

    /// <summary>More units than a bitmap has bits.</summary>
    [Fact]
    public async Task AHugeDiskIsCopiedInLargerUnits()
    {
        const long HugeBytes = 1L << 55;
        var storage = new MemoryStorage();
        await Qcow2Image.CreateAsync(storage, new Qcow2CreateOptions { SizeBytes = HugeBytes, ClusterSizeBytes = 2 << 20 }, Token);
        await using RecordingSession session = await RecordingSession.OpenAsync(
            await ImageChain.OpenAsync(storage, new ChainOpenOptions { WritableLayers = [0] }, Token), cancellationToken: Token);
        BackupJob job = await session.StartBackupAsync(
            new BackupJobOptions { Sync = BackupSync.None, Target = new FailingTarget(HugeBytes, long.MaxValue) }, Token);
        await FillAsync(session, HugeBytes - 512, 512);
        Assert.Equal(256 << 10, job.CopiedBytes);
        job.Cancel();
        Assert.Equal(BackupJobState.Cancelled, await job.WaitAsync(Token));
    }

    private static async Task FillAsync(RecordingSession session, long offset, int length)
    {
        var bytes = new byte[length];
        bytes.AsSpan().Fill(1);
        await session.WriteAsync(offset, bytes, Token);
    }
}
