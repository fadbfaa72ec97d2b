using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

public sealed class RecordingSessionTests
{
    private const long DiskBytes = 4 << 20;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Bitmaps_record_in_memory_are_in_use_meanwhile_and_valid_again_when_closed()
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
        Assert.Equal([BitmapState.Recording, BitmapState.Disabled, BitmapState.Recording], image.Bitmaps.Select(static bitmap => bitmap.State));
        Assert.Equal([(65536L, 65536L), (1 << 20, 65536), (2 << 20, 65536)], Extents(await image.Bitmaps.LoadAsync("a", cancellationToken: Token)));
        Assert.Equal([(69632L, 4096L), (1 << 20, 4096), (2 << 20, 65536)], Extents(await image.Bitmaps.LoadAsync("new", cancellationToken: Token)));
        Assert.True((await image.Bitmaps.LoadAsync("off", cancellationToken: Token)).IsClean);
        await Qemu.ImgOkAsync("check", "-q", path);
    }

    [Fact]
    public async Task A_checkpoint_stores_bitmaps_valid_and_the_next_write_marks_them_first()
    {
        MemoryDisk storage = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await storage.OpenAsync();
        await session.WriteAsync(0, new byte[512], Token);
        Assert.Equal(BitmapState.Inconsistent, (await storage.BitmapsAsync())[0].State);
        await session.CheckpointAsync(Token);
        Assert.Equal(BitmapState.Recording, (await storage.BitmapsAsync())[0].State);
        _ = await session.ReadAsync(0, new byte[512], Token);
        await session.CheckpointAsync(Token);
        Assert.Equal(BitmapState.Recording, (await storage.BitmapsAsync())[0].State);
        await session.WriteAsync(1 << 20, new byte[512], Token);
        Assert.Equal(BitmapState.Inconsistent, (await storage.BitmapsAsync())[0].State);
    }

    [Fact]
    public async Task Nobody_else_changes_the_bitmaps_of_a_session()
    {
        MemoryDisk storage = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await storage.OpenAsync();
        Qcow2Image image = session.Chain.Layers[0].Image!;
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await image.Bitmaps.EditAsync(edit => edit.Add("b"), Token));
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await new BitmapEditSet().Add(image, edit => edit.Add("b")).CommitAsync("/nowhere", Token));
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await RecordingSession.OpenAsync(session.Chain, leaveOpen: true, Token));
        Assert.Single(await storage.BitmapsAsync());
    }

    [Fact]
    public async Task A_backup_has_the_disk_of_its_start_and_its_bitmap_what_was_written_since()
    {
        MemoryDisk storage = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await storage.OpenAsync();
        byte[] old = GuestBytes(1);
        await session.WriteAsync(0, old, Token);
        var target = new MemoryStorage(new byte[DiskBytes]);
        BackupJob job = await session.StartBackupAsync(
            new BackupJobOptions { Sync = BackupSync.Incremental, Bitmap = "a", Target = BackupTarget.OfRaw(target), BytesPerSecond = 64 << 10 }, Token);
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
        foreach (DirtyExtent extent in bits.DirtyExtents())
        {
            extents.Add((extent.OffsetBytes, extent.LengthBytes));
        }

        return extents;
    }
}
