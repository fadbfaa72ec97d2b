using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Header;

/// <summary>A plan whose writing fails, and is taken back.</summary>
public sealed class SwitchPlanTests
{
    private const int SectorBytes = SectorWrite.SectorBytes;

    // Sector 0 and sector 1: a copy is written, the first sector switches to it, and switches on.
    private static readonly byte[][] s_states = [Cluster(1, 1), Cluster(1, 2), Cluster(2, 2), Cluster(3, 2)];

    /// <summary>Only stages that were begun are taken back: what later ones found was never there.</summary>
    [Theory]
    [InlineData(1, 0)]
    [InlineData(2, 0)]
    [InlineData(3, 0)]
    [InlineData(0, 1)]
    [InlineData(0, 2)]
    [InlineData(0, 3)]
    public async Task EachWriteOfTheWayBackLeadsToAStateOfThePlan(int failingWrite, int failingFlush)
    {
        var plan = new SwitchPlan([.. s_states.Skip(1).Select((after, i) => SectorWrite.Between(s_states[i], after))]);
        var crash = new CrashStorage(s_states[0]);
        var storage = new FailingStorage(crash) { FailingWrite = failingWrite, FailingFlush = failingFlush };

        await Assert.ThrowsAsync<IOException>(() => plan.ApplyOrRevertAsync(storage).AsTask());

        byte[] now = s_states[0].ToArray();
        foreach (StorageOperation write in crash.Operations.Where(static operation => operation.Kind == StorageOperationKind.Write))
        {
            write.Bytes.CopyTo(now, write.Offset);
            Assert.Contains(s_states, state => state.AsSpan().SequenceEqual(now));
        }

        Assert.Equal(s_states[0], crash.ToArray());
    }

    /// <summary>A storage of somebody else's may fail in any way.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task AnyErrorIsTakenBack(int failingWrite)
    {
        var plan = new SwitchPlan([.. s_states.Skip(1).Select((after, i) => SectorWrite.Between(s_states[i], after))]);
        var memory = new MemoryStorage(s_states[0].ToArray());
        var storage = new FailingStorage(memory)
        {
            FailingWrite = failingWrite,
            TornBytes = SectorBytes,
            WriteError = static () => new ObjectDisposedException("connection"),
        };

        await Assert.ThrowsAsync<ObjectDisposedException>(() => plan.ApplyOrRevertAsync(storage).AsTask());

        Assert.Equal(s_states[0], memory.ToArray());
    }

    [Fact]
    public async Task AnyErrorOnTheWayBackLeavesTheOutcomeOpen()
    {
        var plan = new SwitchPlan([.. s_states.Skip(1).Select((after, i) => SectorWrite.Between(s_states[i], after))]);
        var storage = new FailingStorage(new MemoryStorage(s_states[0].ToArray()))
        {
            FailingWrite = 2,
            IsGoneAfterwards = true,
            WriteError = static () => new ObjectDisposedException("connection"),
        };

        UnknownOutcomeException e = await Assert.ThrowsAsync<UnknownOutcomeException>(() => plan.ApplyOrRevertAsync(storage).AsTask());

        Assert.IsType<ObjectDisposedException>(e.InnerException);
    }

    private static byte[] Cluster(byte first, byte second)
    {
        var bytes = new byte[2 * SectorBytes];
        bytes.AsSpan(0, SectorBytes).Fill(first);
        bytes.AsSpan(SectorBytes).Fill(second);
        return bytes;
    }
}
