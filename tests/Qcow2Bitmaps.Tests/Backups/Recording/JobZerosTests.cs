using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Chains;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>What a full backup leaves out because the target holds zeros already, and what finding that out costs.</summary>
public sealed class JobZerosTests
{
    private const int SizeBytes = 16 << 20;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Zeros of a backing file are not the target's: the file may be replaced.</summary>
    [Theory]
    [InlineData(SizeBytes)]
    [InlineData(SizeBytes / 4)]
    public async Task ZerosThatOnlyTheBackingFileOfTheTargetShowsAreWritten(int backingBytes)
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(SizeBytes);
        await using RecordingSession session = await disk.OpenAsync();
        await session.WriteAsync(5 << 20, Filled(1 << 20), Token);
        byte[] backing = new TestImage(16, backingBytes).Build();
        var overlay = new MemoryStorage(new TestImage(16, SizeBytes) { BackingFile = "base" }.Build());
        ImageChain chain = await ImageChain.OpenAsync(
            overlay, new ChainOpenOptions { Resolver = new MemoryChain([], backing), WritableLayers = [0] }, Token);
        await using (chain)
        {
            await using Disk target = await chain.OpenWriterAsync(Token);

            await RunAsync(session, target);

            List<DiskExtent> map = await target.MapAsync(cancellationToken: Token).ToListAsync(Token);
            Assert.DoesNotContain(map, static extent => extent.Depth > 0 || extent.Kind == ExtentKind.Unallocated);
        }
    }

    [Fact]
    public async Task ZerosThatTheTargetHoldsAreLeftOut()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(1L << 40);
        await using RecordingSession session = await disk.OpenAsync();
        await session.WriteAsync(5L << 30, Filled(1 << 20), Token);
        var target = new MappedTarget(1L << 40);

        await RunAsync(session, target);

        Assert.Equal(0, target.ZeroedBytes);
        Assert.InRange(target.ListedBytes, 1, 2L << 40);
    }

    /// <summary>Not once more to the disk's end for each part that is copied.</summary>
    [Fact]
    public async Task NoPartOfTheTargetsMapIsAskedForAgainAndAgain()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(SizeBytes);
        await using RecordingSession session = await disk.OpenAsync();
        for (int at = 0; at < SizeBytes; at += 2 << 20)
        {
            await session.WriteAsync(at, Filled(64 << 10), Token);
        }

        var target = new MappedTarget(SizeBytes);

        await RunAsync(session, target);

        Assert.InRange(target.ListedBytes, 0, 2 * SizeBytes);
    }

    private static async Task RunAsync(RecordingSession session, Disk target)
    {
        BackupJob job = await session.StartBackupAsync(new BackupJobOptions { Sync = BackupSync.Full, Target = target }, Token);
        Assert.Equal(BackupJobState.Completed, await job.WaitAsync(Token));
        Assert.Equal(session.SizeBytes, job.CopiedBytes);
    }

    private static byte[] Filled(int length)
    {
        var bytes = new byte[length];
        Array.Fill(bytes, (byte)7);
        return bytes;
    }
}
