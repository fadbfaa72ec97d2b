using FsCheck.Fluent;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>Random sequences of writes, operations, transactions, jobs and checkpoints against a plain model.</summary>
public sealed class RecordingSequenceTests
{
    [Fact]
    public void ASessionDoesWhatTheModelDoes() => Properties.ForAll(
        Gen.Choose(0, int.MaxValue).Select(static seed => new RecordCase(seed, 40, hasJobs: true)),
        15 * Properties.Factor,
        static sequence => RunAsync(sequence).GetAwaiter().GetResult());

    private static async Task RunAsync(RecordCase sequence)
    {
        await using RecordRun run = await RecordRun.StartAsync();
        foreach (IReadOnlyList<RecordStep> item in sequence.Items)
        {
            await run.TakeAsync(item);
        }

        await run.EndJobsAsync(RecordAction.FinishJob);
        await run.TakeAsync([new RecordStep(RecordAction.Reopen)]);
        var disk = new byte[RecordCase.DiskBytes];
        await run.Session.ReadAsync(0, disk, TestContext.Current.CancellationToken);
        Assert.Equal(run.Model.Disk, disk);
    }
}
