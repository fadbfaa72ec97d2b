using System.Buffers.Binary;
using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Hostile;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>Writers beside running jobs.</summary>
public sealed class RecordingConcurrencyTests
{
    private const int DiskBytes = 16 << 20;
    private const int Writers = 4;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ABackupIsOneMomentOfAllWritersAndTheNextOneHasAllThatCameAfter()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession session = await disk.OpenAsync();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        Task[] writers = [.. Enumerable.Range(0, Writers).Select(number => Task.Run(() => WriteAsync(session, number, stop.Token), Token))];
        var target = new MemoryStorage(new byte[DiskBytes]);
        BackupJob full = await session.StartBackupAsync(
            new BackupJobOptions { Sync = BackupSync.Full, Bitmap = "a", BitmapMode = BitmapSyncMode.OnSuccess, Target = BackupTarget.OfRaw(target), BytesPerSecond = 20 << 20 }, Token);
        Assert.Equal(BackupJobState.Completed, await full.WaitAsync(Token));
        AssertOneMoment(target.ToArray());
        for (int i = 0; i < 4; i++)
        {
            BackupJob next = await session.StartBackupAsync(
                new BackupJobOptions { Sync = BackupSync.Incremental, Bitmap = "a", Target = BackupTarget.OfRaw(target), BytesPerSecond = i % 2 * (8 << 20) }, Token);
            await session.CheckpointAsync(Token);
            Assert.Equal(BackupJobState.Completed, await next.WaitAsync(Token));
            AssertOneMoment(target.ToArray());
        }

        await stop.CancelAsync();
        await Task.WhenAll(writers);
        BackupJob last = await session.StartBackupAsync(new BackupJobOptions { Sync = BackupSync.Incremental, Bitmap = "a", Target = BackupTarget.OfRaw(target) }, Token);
        Assert.Equal(BackupJobState.Completed, await last.WaitAsync(Token));
        Assert.True(session.CopyBits("a").IsClean);
        var now = new byte[DiskBytes];
        await session.ReadAsync(0, now, Token);
        Assert.Equal(now, target.ToArray());
        Assert.True(BinaryPrimitives.ReadInt64LittleEndian(now) > 10);
    }

    [Fact]
    public async Task TransactionsOverSessionsThatAreOneAnothersTargetsDoNotWaitForOneAnother()
    {
        MemoryDisk one = await MemoryDisk.CreateAsync(DiskBytes, "a");
        MemoryDisk other = await MemoryDisk.CreateAsync(DiskBytes, "a");
        await using RecordingSession second = await other.OpenAsync();
        await using RecordingSession first = await one.OpenAsync();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        Task writer = Task.Run(() => WriteAsync(first, 0, stop.Token), Token);
        for (int i = 0; i < 20; i++)
        {
            BackupJob job = await first.StartBackupAsync(new BackupJobOptions { Sync = BackupSync.Full, Target = BackupTarget.Of(second), BytesPerSecond = i % 2 * (200 << 20) }, Token);
            await new RecordingTransaction().Clear(first, "a").Clear(second, "a").Merge(first, "a", [MergeSource.Of(second, "a")]).CommitAsync(Token).AsTask().WaitAsync(TimeSpan.FromSeconds(20), Token);
            if (i % 3 == 0)
            {
                job.Cancel();
            }

            await job.WaitAsync(Token).WaitAsync(TimeSpan.FromSeconds(20), Token);
        }

        await stop.CancelAsync();
        await writer;
        Assert.False(second.CopyBits("a").IsClean);
    }

    /// <summary>Counts up at two places, one after the other: at any moment the first is ahead by one at most.</summary>
    private static async Task WriteAsync(RecordingSession session, int number, CancellationToken cancellationToken)
    {
        var random = new SplitMix((ulong)number);
        var bytes = new byte[512];
        for (long count = 1; !cancellationToken.IsCancellationRequested; count++)
        {
            BinaryPrimitives.WriteInt64LittleEndian(bytes, count);
            await session.WriteAsync(FirstPlaceOf(number), bytes, CancellationToken.None);
            await session.WriteAsync(SecondPlaceOf(number), bytes, CancellationToken.None);
            await session.WriteAsync((4 << 20) + ((long)random.Below(8 << 20) & -512), bytes, CancellationToken.None);
            await Task.Yield();
        }
    }

    private static void AssertOneMoment(byte[] disk)
    {
        for (int number = 0; number < Writers; number++)
        {
            long first = BinaryPrimitives.ReadInt64LittleEndian(disk.AsSpan(FirstPlaceOf(number)));
            long second = BinaryPrimitives.ReadInt64LittleEndian(disk.AsSpan(SecondPlaceOf(number)));
            Assert.True(second <= first && first <= second + 1, $"writer {number}: {first} and {second}");
        }
    }

    private static int FirstPlaceOf(int number) => number % 2 == 0 ? number << 18 : DiskBytes - ((number + 1) << 18);

    private static int SecondPlaceOf(int number) => number % 2 == 0 ? DiskBytes - ((number + 1) << 18) : number << 18;
}
