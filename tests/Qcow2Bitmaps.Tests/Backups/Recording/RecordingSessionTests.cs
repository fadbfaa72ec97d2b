using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

public sealed class RecordingSessionTests
{
    private const long DiskBytes = 4 << 20;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task BitmapsRecordInMemoryAreInUseMeanwhileAndValidAgainWhenClosed()
    {
        using var folder = TempFolder.InMemory();
        string path = folder.File("a.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", path, "4M");
        await Qemu.ImgOkAsync("bitmap", "--add", path, "a");
        await Qemu.ImgOkAsync("bitmap", "--add", "--disable", path, "off");
        await using (RecordingSession session = await RecordingSession.OpenAsync(path, cancellationToken: Token))
        {
            await session.AddAsync("new", 4096, isPersistent: true, cancellationToken: Token);
            await session.AddAsync("gone", 4096, cancellationToken: Token);
            await session.WriteAsync(70000, new byte[10], Token);
            await session.WriteZerosAsync(1 << 20, 1000, cancellationToken: Token);
            await session.DiscardAsync(2 << 20, 65536, Token);
            Assert.Equal(["gone", "new", "off", "a"], session.Bitmaps.Select(static bitmap => bitmap.Name));
            string info = await Qemu.ImgOkAsync("info", "-U", path);
            Assert.Equal(2, info.Split("in-use").Length - 1);
            Assert.DoesNotContain("new", info, StringComparison.Ordinal);
        }

        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        Assert.Equal(["a", "off", "new"], image.Bitmaps.Select(static bitmap => bitmap.Name));
        Assert.Equal(
            [BitmapState.Recording, BitmapState.Disabled, BitmapState.Recording], image.Bitmaps.Select(static bitmap => bitmap.State));
        Assert.Equal(
            [(65536L, 65536L), (1 << 20, 65536), (2 << 20, 65536)], Extents(await image.Bitmaps.LoadAsync("a", cancellationToken: Token)));
        Assert.Equal(
            [(69632L, 4096L), (1 << 20, 4096), (2 << 20, 65536)], Extents(await image.Bitmaps.LoadAsync("new", cancellationToken: Token)));
        Assert.True((await image.Bitmaps.LoadAsync("off", cancellationToken: Token)).IsClean);
        await Qemu.ImgOkAsync("check", "-q", path);
    }

    [Fact]
    public async Task ACheckpointStoresBitmapsValidAndTheNextWriteMarksThemFirst()
    {
        MemoryDisk storage = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await storage.OpenAsync();
        await session.WriteAsync(0, new byte[512], Token);
        Assert.Equal(BitmapState.Inconsistent, (await storage.BitmapsAsync())[0].State);
        await session.StoreBitmapsAsync(Token);
        Assert.Equal(BitmapState.Recording, (await storage.BitmapsAsync())[0].State);
        _ = await session.ReadAsync(0, new byte[512], Token);
        await session.StoreBitmapsAsync(Token);
        Assert.Equal(BitmapState.Recording, (await storage.BitmapsAsync())[0].State);
        await session.WriteAsync(1 << 20, new byte[512], Token);
        Assert.Equal(BitmapState.Inconsistent, (await storage.BitmapsAsync())[0].State);
    }

    [Fact]
    public async Task NobodyElseChangesTheBitmapsOfASession()
    {
        MemoryDisk storage = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await storage.OpenAsync();
        Qcow2Image image = session.Chain.Layers[0].RequireImage();
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await image.Bitmaps.EditAsync(edit => edit.Add("b"), Token));
        await Assert.ThrowsAsync<InvalidOperationException>(
            async () => await new BitmapEditSet().Add(image, edit => edit.Add("b")).CommitAsync("/nowhere", Token));
        byte[] before = storage.Storage.ToArray();
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await image.RepairAsync(RepairKinds.Bitmaps, Token));
        Assert.Equal(before, storage.Storage.ToArray());
        await image.RepairAsync(RepairKinds.All, Token);
        await Assert.ThrowsAsync<InvalidOperationException>(
            async () => await RecordingSession.OpenAsync(session.Chain, leaveOpen: true, Token));
        Assert.Single(await storage.BitmapsAsync());
    }

    [Fact]
    public async Task OfAnImageThatIsOnlyReadBitmapsAreReadOnlyAndJobsCopyByThem()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using (RecordingSession writing = await disk.OpenAsync())
        {
            await writing.WriteAsync(65536, GuestBytes(3).AsMemory(0, 65536), Token);
        }

        byte[] before = disk.Storage.ToArray();
        await using RecordingSession session = await disk.OpenAsync(isReadOnly: true);
        Assert.True(!session.CanWrite && session.Find("a")!.IsReadOnly);
        await Assert.ThrowsAsync<Qcow2UnsupportedException>(async () => await session.WriteAsync(0, new byte[1], Token));
        BitmapStateException e = await Assert.ThrowsAsync<BitmapStateException>(async () => await session.ClearAsync("a", Token));
        Assert.Equal("Bitmap 'a' is readonly and cannot be modified", e.Message);
        Assert.Equal("clear", e.Operation);
        await Assert.ThrowsAsync<BitmapStateException>(async () => await session.RemoveAsync("a", Token));
        await Assert.ThrowsAsync<BitmapStateException>(
            async () => await session.AddAsync("b", isPersistent: true, cancellationToken: Token));
        await session.AddAsync("t", cancellationToken: Token);
        await new RecordingTransaction().Merge(session, "t", "a").Merge(session, "t", session.CopyBits("a")).CommitAsync(Token);
        Assert.Equal(65536, session.Find("t")!.CountBytes);
        var target = new MemoryStorage(new byte[DiskBytes]);
        var options = new BackupJobOptions
        {
            Sync = BackupSync.Bitmap,
            Bitmap = "a",
            BitmapMode = BitmapSyncMode.Never,
            Target = new RawDisk(target),
        };
        await Assert.ThrowsAsync<BitmapStateException>(
            async () => await session.StartBackupAsync(options with { BitmapMode = BitmapSyncMode.OnSuccess }, Token));
        Assert.Equal(BackupJobState.Completed, await (await session.StartBackupAsync(options, Token)).WaitAsync(Token));
        Assert.Equal(GuestBytes(3).AsSpan(0, 65536), target.ToArray().AsSpan(65536, 65536));
        await session.DisposeAsync();
        Assert.Equal(before, disk.Storage.ToArray());
    }

    [Fact]
    public async Task ATransactionThatIsOnlyCheckedChangesNothing()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a", "b");
        await using RecordingSession session = await disk.OpenAsync();
        await session.WriteAsync(0, new byte[512], Token);
        byte[] before = disk.Storage.ToArray();
        var target = new FailingTarget(DiskBytes, failsFrom: 0);
        RecordingTransaction transaction = new RecordingTransaction()
            .Backup(session, new BackupJobOptions { Sync = BackupSync.Incremental, Bitmap = "a", Target = target })
            .Remove(session, "b")
            .Add(session, "n", isPersistent: true);
        await transaction.CheckAsync(Token);
        BitmapStateException e = await Assert.ThrowsAsync<BitmapStateException>(
            async () => await transaction.Clear(session, "a").CheckAsync(Token));
        Assert.Equal("clear", e.Operation);
        Assert.Equal(["a", "b"], session.Bitmaps.Select(static bitmap => bitmap.Name).Order(StringComparer.Ordinal));
        Assert.DoesNotContain(session.Bitmaps, static bitmap => bitmap.IsBusy);
        Assert.Empty(session.Jobs);
        Assert.Equal(before, disk.Storage.ToArray());
    }

    [Fact]
    public async Task ATransactionOverSessionsIsTakenBackWhereAStepIsRefused()
    {
        MemoryDisk one = await MemoryDisk.CreateAsync(DiskBytes, "a");
        MemoryDisk other = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession first = await one.OpenAsync();
        await using RecordingSession second = await other.OpenAsync();
        await first.WriteAsync(0, new byte[512], Token);
        await second.WriteAsync(1 << 20, new byte[512], Token);
        RecordingTransaction failing = new RecordingTransaction()
            .Merge(first, "a", "a", second)
            .Add(first, "n")
            .Backup(
                first,
                new BackupJobOptions
                {
                    Sync = BackupSync.Full,
                    Bitmap = "a",
                    BitmapMode = BitmapSyncMode.Always,
                    Target = new NullTarget(DiskBytes),
                })
            .Remove(second, "a")
            .Clear(second, "a");
        BitmapStateException e = await Assert.ThrowsAsync<BitmapStateException>(async () => await failing.CommitAsync(Token));
        Assert.Equal("Bitmap 'a' is currently in use by another operation and cannot be used", e.Message);
        Assert.Equal([(0L, 65536L)], Extents(first.CopyBits("a")));
        Assert.Equal([(1L << 20, 65536L)], Extents(second.CopyBits("a")));
        Assert.Equal(["a"], first.Bitmaps.Select(static bitmap => bitmap.Name));
        Assert.False(first.Find("a")!.IsBusy);
        Assert.Empty(first.Jobs);
        Assert.Single(await other.BitmapsAsync());
        await new RecordingTransaction().Merge(first, "a", "a", second).Remove(second, "a").CommitAsync(Token);
        Assert.Equal([(0L, 65536L), (1L << 20, 65536L)], Extents(first.CopyBits("a")));
        Assert.Empty(await other.BitmapsAsync());
    }

    [Fact]
    public async Task ATargetThatFailsUnderAWriteEndsTheJobAndNotTheWrite()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await disk.OpenAsync();
        await session.WriteAsync(0, GuestBytes(1), Token);
        // Only half of it is there; the job begins at the other end.
        var target = new FailingTarget(DiskBytes, failsFrom: 2 << 20);
        BackupJob job = await session.StartBackupAsync(
            new BackupJobOptions { Sync = BackupSync.Incremental, Bitmap = "a", Target = target, BytesPerSecond = 1 }, Token);
        byte[] bytes = GuestBytes(2)[..512];
        await session.WriteAsync(3 << 20, bytes, Token);
        Assert.Equal(BackupJobState.Failed, await job.WaitAsync(Token));
        Assert.IsType<IOException>(job.Error);
        var read = new byte[512];
        await session.ReadAsync(3 << 20, read, Token);
        Assert.Equal(bytes, read);
        Assert.Equal(DiskBytes, session.Find("a")!.CountBytes);
        Assert.False(session.Find("a")!.IsBusy);
        Assert.False(target.IsDisposed);
    }

    [Fact]
    public async Task OfALargeDiskAJobReadsWhatThereIs()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(1L << 40);
        await using RecordingSession session = await disk.OpenAsync();
        await session.WriteAsync(700L << 30, GuestBytes(1), Token);
        var target = new FailingTarget(1L << 40, long.MaxValue);
        BackupJob job = await session.StartBackupAsync(new BackupJobOptions { Sync = BackupSync.Full, Target = target }, Token);
        Assert.Equal(BackupJobState.Completed, await job.WaitAsync(Token));
        Assert.Equal(1L << 40, job.CopiedBytes);
        Assert.Equal(DiskBytes, target.WrittenBytes);
    }

    /// <summary>Zeros that the target has anyway are not written, and not recorded; whatever else it has goes.</summary>
    [Fact]
    public async Task AnotherSessionThatIsTheTargetBecomesTheDisk()
    {
        const int SizeBytes = 64 << 20;
        MemoryDisk disk = await MemoryDisk.CreateAsync(SizeBytes);
        await using RecordingSession session = await disk.OpenAsync();
        await session.WriteAsync(5 << 20, GuestBytes(1), Token);
        MemoryDisk otherDisk = await MemoryDisk.CreateAsync(SizeBytes, "b");
        await using RecordingSession other = await otherDisk.OpenAsync();
        await other.WriteAsync(6 << 20, GuestBytes(2), Token);
        await other.WriteAsync((40 << 20) + 1000, GuestBytes(3).AsMemory(0, 100_000), Token);
        await other.ClearAsync("b", Token);

        BackupJob job = await session.StartBackupAsync(
            new BackupJobOptions { Sync = BackupSync.Full, Target = other }, Token);

        Assert.Equal(BackupJobState.Completed, await job.WaitAsync(Token));
        Assert.Equal(SizeBytes, job.CopiedBytes);
        var expected = new byte[SizeBytes];
        var found = new byte[SizeBytes];
        await session.ReadAsync(0, expected, Token);
        await other.ReadAsync(0, found, Token);
        Assert.True(expected.AsSpan().SequenceEqual(found));
        List<(long Start, long Length)> dirty = Extents(other.CopyBits("b"));
        Assert.Contains(dirty, static part => part.Start <= 5 << 20 && part.Start + part.Length >= 10 << 20);
        Assert.Contains(dirty, static part => part.Start <= 40 << 20 && part.Start + part.Length >= (40 << 20) + 101_000);
        Assert.DoesNotContain(dirty, static part => part.Start < 5 << 20);
    }

    [Fact]
    public async Task ABackupHasTheDiskOfItsStartAndItsBitmapWhatWasWrittenSince()
    {
        MemoryDisk storage = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await storage.OpenAsync();
        byte[] old = GuestBytes(1);
        await session.WriteAsync(0, old, Token);
        var target = new MemoryStorage(new byte[DiskBytes]);
        BackupJob job = await session.StartBackupAsync(
            new BackupJobOptions { Sync = BackupSync.Incremental, Bitmap = "a", Target = new RawDisk(target), BytesPerSecond = 64 << 10 },
            Token);
        RecordedBitmap busy = session.Find("a")!;
        Assert.True(busy.IsBusy && busy.IsRecording);
        Assert.Equal(DiskBytes, busy.CountBytes);
        await session.WriteAsync(3 << 20, GuestBytes(2).AsMemory(0, 1000), Token);
        job.BytesPerSecond = 0;
        Assert.Equal(BackupJobState.Completed, await job.WaitAsync(Token));
        Assert.Equal(old, target.ToArray());
        Assert.Equal([(3L << 20, 65536L)], Extents(session.CopyBits("a")));
        Assert.Equal(DiskBytes, job.TotalBytes);
        Assert.Equal(DiskBytes, job.CopiedBytes);
    }

    private static byte[] GuestBytes(int seed)
    {
        var random = new SplitMix((ulong)seed);
        return [.. Enumerable.Range(0, (int)DiskBytes).Select(_ => (byte)(random.Next() & 0xFF))];
    }

    private static List<(long, long)> Extents(DirtyBitmap bits)
    {
        var extents = new List<(long, long)>();
        foreach (DirtyExtent extent in bits.Extents())
        {
            extents.Add((extent.OffsetBytes, extent.LengthBytes));
        }

        return extents;
    }
}
