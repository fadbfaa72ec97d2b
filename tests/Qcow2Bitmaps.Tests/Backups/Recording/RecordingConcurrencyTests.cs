using System.Buffers.Binary;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

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
            new BackupJobOptions
            {
                Sync = BackupSync.Full,
                Bitmap = "a",
                BitmapMode = BitmapSyncMode.OnSuccess,
                Target = new RawDisk(target),
                BytesPerSecond = 20 << 20,
            },
            Token);
        Assert.Equal(BackupJobState.Completed, await full.WaitAsync(Token));
        AssertOneMoment(target.ToArray());
        for (int i = 0; i < 4; i++)
        {
            BackupJob next = await session.StartBackupAsync(
                new BackupJobOptions
                {
                    Sync = BackupSync.Incremental,
                    Bitmap = "a",
                    Target = new RawDisk(target),
                    BytesPerSecond = i % 2 * (8 << 20),
                },
                Token);
            await session.StoreBitmapsAsync(Token);
            Assert.Equal(BackupJobState.Completed, await next.WaitAsync(Token));
            AssertOneMoment(target.ToArray());
        }

        await stop.CancelAsync();
        await Task.WhenAll(writers);
        BackupJob last = await session.StartBackupAsync(
            new BackupJobOptions { Sync = BackupSync.Incremental, Bitmap = "a", Target = new RawDisk(target) }, Token);
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
            BackupJob job = await first.StartBackupAsync(
                new BackupJobOptions
                {
                    Sync = BackupSync.Full,
                    Target = second,
                    BytesPerSecond = i % 2 * (200 << 20),
                },
                Token);
            await new RecordingTransaction().Clear(first, "a")
                .Clear(second, "a")
                .Merge(first, "a", "a", second)
                .CommitAsync(Token)
                .WaitAsync(Patience.Limit, Token);
            if (i % 3 == 0)
            {
                job.Cancel();
            }

            await job.WaitAsync(Token).WaitAsync(Patience.Limit, Token);
        }

        await stop.CancelAsync();
        await writer;
        Assert.False(second.CopyBits("a").IsClean);
    }

    /// <summary>In a circle each copy before a write would write the next disk, up to the one whose copy waits.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    public async Task NoCircleOfSessionsIsCopied(int count)
    {
        var sessions = new List<RecordingSession>();
        for (int i = 0; i < count; i++)
        {
            sessions.Add(await (await MemoryDisk.CreateAsync(DiskBytes)).OpenAsync());
        }

        var jobs = new List<BackupJob>();
        for (int i = 0; i < count - 1; i++)
        {
            jobs.Add(await sessions[i].StartBackupAsync(To(sessions[i + 1]), Token));
        }

        BitmapStateException refused = await Assert.ThrowsAsync<BitmapStateException>(
            async () => await sessions[^1].StartBackupAsync(To(sessions[0]), Token));
        Assert.Equal($"Making '{sessions[0].Name}' a backup target of '{sessions[^1].Name}' would create a cycle", refused.Message);
        foreach (RecordingSession session in sessions)
        {
            await session.WriteAsync(0, new byte[512], Token).AsTask().WaitAsync(Patience.Limit, Token);
        }

        foreach (BackupJob job in jobs)
        {
            await job.DisposeAsync();
        }

        // Nor by one transaction; what that has not started is in nobody's way.
        await Assert.ThrowsAsync<BitmapStateException>(async () =>
            await new RecordingTransaction().Backup(sessions[0], To(sessions[^1]))
                .Backup(sessions[^1], To(sessions[0]))
                .CommitAsync(Token));
        await using (BackupJob back = await sessions[^1].StartBackupAsync(To(sessions[0]), Token))
        {
            await sessions[^1].WriteAsync(0, new byte[512], Token).AsTask().WaitAsync(Patience.Limit, Token);
        }

        foreach (RecordingSession session in sessions)
        {
            await session.DisposeAsync();
        }

        static BackupJobOptions To(RecordingSession session) => new() { Sync = BackupSync.None, Target = session };
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
