using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>
/// Sessions that stop in the middle: bitmaps are as before the session, in use, or as stored, and never
/// look valid while they miss a change.
/// </summary>
public sealed class RecordingCrashTests
{
    private const int DiskBytes = 1 << 20;
    private const int SectorBytes = 512;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task WhereverASessionStopsNoBitmapLooksValidAndMissesAChange()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a", "off");
        var storage = new CrashStorage(disk.Storage.ToArray());
        var start = new byte[DiskBytes];
        var atJob = new byte[DiskBytes];
        int jobEnded;
        ImageChain chain = await ImageChain.OpenAsync(storage, new ChainOpenOptions { WritableLayers = [0] }, Token);
        await using (RecordingSession session = await RecordingSession.OpenAsync(chain, cancellationToken: Token))
        {
            await session.DisableAsync("off", Token);
            await FillAsync(session, 0, 70_000, 1);
            await session.AddAsync("new", 4096, isPersistent: true, cancellationToken: Token);
            await session.StoreBitmapsAsync(Token);
            await session.FlushAsync(Token);
            await FillAsync(session, 300_000, 100_000, 2);
            await session.DiscardAsync(0, 65536, Token);
            await session.FlushAsync(Token);
            await session.ReadAsync(0, atJob, Token);
            BackupJob job = await session.StartBackupAsync(
                new BackupJobOptions
                {
                    Sync = BackupSync.Incremental,
                    Bitmap = "a",
                    Target = new RawDisk(new MemoryStorage(new byte[DiskBytes])),
                    BytesPerSecond = 1,
                },
                Token);
            await FillAsync(session, 500_000, 10_000, 3);
            await session.StoreBitmapsAsync(Token);
            jobEnded = storage.Operations.Count;
            job.BytesPerSecond = 0;
            Assert.Equal(BackupJobState.Completed, await job.WaitAsync(Token));
            await FillAsync(session, 900_000, 10_000, 4);
            await session.RemoveAsync("new", Token);
            await session.StoreBitmapsAsync(Token);
            await FillAsync(session, 200_000, 10_000, 5);
            await session.FlushAsync(Token);
        }

        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (CrashState state in storage.States(exhaustive: 32, samples: 16))
        {
            byte[] now = await ReadAsync(state.Content);
            await using Qcow2Image image = await Qcow2Image.OpenAsync(MemoryStorage.ReadOnly(state.Content), cancellationToken: Token);
            CheckReport check = await image.CheckAsync(Token);
            Assert.True(
                check is { Corruptions: 0, CheckErrors: 0 }, $"{state}: {string.Join('\n', check.Findings.Select(static f => f.Message))}");
            Assert.True(image.Bitmaps.TryGet("a", out BitmapInfo? a) && image.Bitmaps.TryGet("off", out _));
            seen.Add(string.Join(' ', image.Bitmaps.Select(static b => $"{b.Name}:{b.State}")));
            // All of them change together.
            Assert.Single(image.Bitmaps.Select(static b => b.State == BitmapState.Inconsistent).Distinct());
            if (a.State == BitmapState.Inconsistent)
            {
                continue;
            }

            DirtyBitmap bits = await image.Bitmaps.LoadAsync("a", cancellationToken: Token);
            Assert.True(Covers(bits, start, now) || (state.Begun > jobEnded && Covers(bits, atJob, now)), $"{state}: 'a' misses a change");
        }

        Assert.Equal(
            [
                "a:Inconsistent off:Inconsistent", "a:Inconsistent off:Inconsistent new:Inconsistent", "a:Recording off:Disabled",
                "a:Recording off:Disabled new:Recording",
                "a:Recording off:Recording",
            ],
            seen.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task AfterAKillQemuFindsTheBitmapsInconsistentAndPopulatingRebuildsThem()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        string below = folder.File("base.qcow2");
        string top = folder.File("top.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", below, "1M");
        await Qemu.IoOkAsync(below, "write -P 7 0 1M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", top);
        await Qemu.ImgOkAsync("bitmap", "--add", top, "a");
        await using RecordingSession session = await RecordingSession.OpenAsync(top, cancellationToken: Token);
        await FillAsync(session, 300_000, 100_000, 2);
        await session.WriteZerosAsync(0, 65536, cancellationToken: Token);
        await session.DiscardAsync(131072, 65536, Token);
        await session.FlushAsync(Token);

        // What a kill leaves is what is in the file.
        string killed = folder.File("killed.qcow2");
        File.Copy(top, killed);
        Assert.Contains("in-use", await Qemu.ImgOkAsync("info", "-U", killed), StringComparison.Ordinal);
        await using ImageChain chain = await ImageChain.OpenAsync(killed, new ChainOpenOptions { WritableLayers = [0] }, Token);
        await new ChainPopulate(chain, "a", trustsBirth: true).RunAsync(cancellationToken: Token);
        Assert.True((await chain.JudgeBitmapAsync("a", cancellationToken: Token)).IsValid);
        DirtyBitmap bits = await chain.Layers[0].RequireImage().Bitmaps.LoadAsync("a", cancellationToken: Token);
        DirtyBitmap live = session.CopyBits("a");
        live.Subtract(bits);
        Assert.True(live.IsClean, $"{live}");
    }

    [Fact]
    public async Task WithoutRoomBitmapsStayInUseAndTheSessionSaysSo()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a");
        byte[] content = disk.Storage.ToArray();
        var storage = new FixedSizeStorage(new MemoryStorage([.. content, .. new byte[5 * 65536]]));
        ImageChain chain = await ImageChain.OpenAsync(storage, new ChainOpenOptions { WritableLayers = [0] }, Token);
        RecordingSession session = await RecordingSession.OpenAsync(chain, leaveOpen: true, cancellationToken: Token);
        await Assert.ThrowsAsync<NoSpaceException>(async () =>
        {
            for (int at = 0; at < DiskBytes; at += 65536)
            {
                await FillAsync(session, at, 65536, 9);
            }
        });
        await Assert.ThrowsAsync<NoSpaceException>(async () => await session.StoreBitmapsAsync(Token));
        Assert.False(session.CopyBits("a").IsClean);
        await Assert.ThrowsAsync<NoSpaceException>(async () => await session.DisposeAsync());
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
        Assert.Equal(BitmapState.Inconsistent, Assert.Single(image.Bitmaps).State);
        await chain.DisposeAsync();
    }

    private static async Task FillAsync(RecordingSession session, long offset, int length, byte fill)
    {
        var bytes = new byte[length];
        Array.Fill(bytes, fill);
        await session.WriteAsync(offset, bytes, Token);
    }

    private static bool Covers(DirtyBitmap bits, byte[] before, byte[] now)
    {
        for (int at = 0; at < now.Length; at += SectorBytes)
        {
            if (!bits.IsDirty(at) && !before.AsSpan(at, SectorBytes).SequenceEqual(now.AsSpan(at, SectorBytes)))
            {
                return false;
            }
        }

        return true;
    }

    private static async Task<byte[]> ReadAsync(byte[] content)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(MemoryStorage.ReadOnly(content), cancellationToken: Token);
        var disk = new byte[DiskBytes];
        await chain.ReadAsync(0, disk, Token);
        return disk;
    }
}
