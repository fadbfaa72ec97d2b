using Qcow2Bitmaps.Backups.Recording;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>A session and its model, side by side.</summary>
internal sealed class RecordRun(MemoryDisk disk, RecordingSession session) : IAsyncDisposable
{
    private readonly List<(BackupJob Job, RecordStep Step, ModelTarget Target, byte[] DiskAtStart, bool[] UnitsAtStart)> _jobs = [];

    public RecordModel Model { get; } = new();

    public RecordingSession Session { get; private set; } = session;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static async Task<RecordRun> StartAsync()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(RecordCase.DiskBytes);
        return new RecordRun(disk, await disk.OpenAsync());
    }

    public async Task TakeAsync(IReadOnlyList<RecordStep> steps)
    {
        if (steps[0].Action <= RecordAction.Backup)
        {
            await ApplyAsync(steps);
        }
        else
        {
            await TakeAsync(steps[0]);
        }

        AssertSame(Session.Bitmaps);
    }

    public async Task EndJobsAsync(RecordAction how)
    {
        foreach ((BackupJob job, RecordStep step, ModelTarget target, byte[] diskAtStart, bool[] unitsAtStart) in _jobs)
        {
            switch (how)
            {
                case RecordAction.CancelJob:
                    job.Cancel();
                    break;
                case RecordAction.FailJob:
                    target.Fail();
                    break;
            }

            job.BytesPerSecond = 0;
            target.Release();
            BackupJobState state = await job.WaitAsync(Token);
            // What cannot be flushed was not copied.
            bool[] remaining = how == RecordAction.FailJob && state != BackupJobState.Completed
                ? unitsAtStart
                : [.. unitsAtStart.Zip(target.Written, static (wanted, written) => wanted && !written)];
            Model.EndJob(step, state == BackupJobState.Completed, remaining);
            Assert.True(
                state == BackupJobState.Completed || (state == BackupJobState.Cancelled) == (how == RecordAction.CancelJob),
                $"{state} {job.Error}");
            Assert.True(state == BackupJobState.Completed || how != RecordAction.FinishJob, $"{job.Error}");
            for (int unit = 0; unit < target.Written.Length; unit++)
            {
                int start = unit * ModelTarget.UnitBytes;
                Range range = start..Math.Min(RecordCase.DiskBytes, start + ModelTarget.UnitBytes);
                Assert.True(
                    target.Written[unit]
                        ? target.Content[range].AsSpan().SequenceEqual(diskAtStart[range])
                        : !target.Content[range].AsSpan().ContainsAnyExcept(ModelTarget.Untouched),
                    $"{step}, which {state}: unit {unit} of the target is not that of the disk when the job began");
                Assert.False(target.Written[unit] && !unitsAtStart[unit]);
                Assert.False(state == BackupJobState.Completed && remaining[unit]);
            }
        }

        _jobs.Clear();
    }

    public async ValueTask DisposeAsync()
    {
        await Session.DisposeAsync();
    }

    private async Task ApplyAsync(IReadOnlyList<RecordStep> steps)
    {
        bool isAccepted = Model.TryApply(steps);
        var transaction = new RecordingTransaction();
        var backups = new List<(RecordStep Step, ModelTarget Target)>();
        foreach (RecordStep step in steps)
        {
            _ = step.Action switch
            {
                RecordAction.Add => transaction.Add(Session, step.Name, step.Granularity, step.IsPersistent, step.IsRecording),
                RecordAction.Remove => transaction.Remove(Session, step.Name),
                RecordAction.Enable => transaction.Enable(Session, step.Name),
                RecordAction.Disable => transaction.Disable(Session, step.Name),
                RecordAction.Clear => transaction.Clear(Session, step.Name),
                RecordAction.Merge => transaction.Merge(Session, step.Name, step.Sources),
                _ => AddBackup(transaction, step, backups),
            };
        }

        try
        {
            IReadOnlyList<BackupJob> jobs = await transaction.CommitAsync(Token);
            Assert.True(isAccepted, $"[{string.Join(", ", steps)}] was accepted");
            for (int i = 0; i < jobs.Count; i++)
            {
                (RecordStep step, ModelTarget target) = backups[i];
                bool[] all = [.. target.Written.Select(static _ => true)];
                bool[] units = step.Sync == BackupSync.Full
                    ? all
                    : ModelBitmap.New("", ModelTarget.UnitBytes, false, true).With(
                        Model.Find(step.Name)!.Bits, Model.Find(step.Name)!.Granularity).Bits;
                _jobs.Add((jobs[i], step, target, [.. Model.Disk], units));
            }
        }
        catch (BitmapStateException e)
        {
            Assert.False(isAccepted, $"[{string.Join(", ", steps)}]: {e.Message}");
            Assert.NotNull(e.Operation);
        }
    }

    private RecordingTransaction AddBackup(
        RecordingTransaction transaction, RecordStep step, List<(RecordStep Step, ModelTarget Target)> backups)
    {
        var target = new ModelTarget();
        backups.Add((step, target));
        return transaction.Backup(
            Session,
            new BackupJobOptions { Sync = step.Sync, Bitmap = step.Name, BitmapMode = step.Mode, Target = target, BytesPerSecond = 1 });
    }

    private async Task TakeAsync(RecordStep step)
    {
        switch (step.Action)
        {
            case RecordAction.Write:
                var bytes = new byte[step.Length];
                Array.Fill(bytes, step.Fill);
                bytes.CopyTo(Model.Disk, (int)step.Offset);
                Model.Record(step.Offset, step.Length);
                await Session.WriteAsync(step.Offset, bytes, Token);
                break;
            case RecordAction.Zero:
                Model.Disk.AsSpan((int)step.Offset, step.Length).Clear();
                Model.Record(step.Offset, step.Length);
                await Session.WriteZerosAsync(step.Offset, step.Length, step.Fill % 2 == 0, Token);
                break;
            case RecordAction.Discard:
                Model.Record(step.Offset, step.Length);
                await Session.DiscardAsync(step.Offset, step.Length, Token);
                await Session.ReadAsync(0, Model.Disk, Token);
                break;
            case RecordAction.Checkpoint:
                await Session.StoreBitmapsAsync(Token);
                await AssertStoredAsync();
                break;
            case RecordAction.Reopen:
                await EndJobsAsync(RecordAction.CancelJob);
                await Session.DisposeAsync();
                Model.Reopen();
                await AssertStoredAsync();
                Session = await disk.OpenAsync();
                break;
            default:
                await EndJobsAsync(step.Action);
                break;
        }
    }

    private async Task AssertStoredAsync()
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(
            Qcow2Bitmaps.Storage.MemoryStorage.ReadOnly(disk.Storage.ToArray()), cancellationToken: Token);
        ModelBitmap[] stored = [.. Model.Bitmaps.Where(static bitmap => bitmap.IsPersistent)];
        Assert.Equal(
            stored.Select(static b => b.Name).Order(StringComparer.Ordinal),
            image.Bitmaps.Select(static b => b.Name).Order(StringComparer.Ordinal));
        foreach (ModelBitmap bitmap in stored)
        {
            ModelBitmap expected = bitmap.Successor is { } successor ? bitmap.With(successor, bitmap.Granularity) : bitmap;
            Assert.True(image.Bitmaps.TryGet(bitmap.Name, out BitmapInfo? info));
            Assert.Equal(
                bitmap.IsRecording ? BitmapState.Recording : BitmapState.Disabled, info.State);
            AssertBits(expected, await image.Bitmaps.LoadAsync(info, cancellationToken: Token));
        }

        CheckReport check = await image.CheckAsync(Token);
        Assert.True(check is { Corruptions: 0, CheckErrors: 0, Leaks: 0 }, string.Join('\n', check.Findings.Select(static f => f.Message)));
    }

    private void AssertSame(IReadOnlyList<RecordedBitmap> bitmaps)
    {
        Assert.Equal(
            Model.Bitmaps.Select(static b => b.Name).Order(StringComparer.Ordinal),
            bitmaps.Select(static b => b.Name).Order(StringComparer.Ordinal));
        foreach (RecordedBitmap bitmap in bitmaps)
        {
            ModelBitmap expected = Model.Find(bitmap.Name)!;
            Assert.Equal(
                (expected.Granularity, expected.IsBusy, expected.IsPersistent, expected.IsRecording, expected.Bits.Count(
                    static b => b) * (long)expected.Granularity),
                (bitmap.GranularityBytes, bitmap.IsBusy, bitmap.IsPersistent, bitmap.IsRecording, bitmap.CountBytes));
            AssertBits(expected, Session.CopyBits(bitmap.Name));
        }
    }

    private static void AssertBits(ModelBitmap expected, DirtyBitmap bits)
    {
        Assert.Equal(expected.Granularity, bits.GranularityBytes);
        for (int bit = 0; bit < expected.Bits.Length; bit++)
        {
            if (expected.Bits[bit] != bits.IsDirty((long)bit * expected.Granularity))
            {
                Assert.Fail($"{expected.Name}: bit {bit} is {!expected.Bits[bit]}");
            }
        }
    }
}
