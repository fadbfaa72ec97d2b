using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Storages that fail do so when they should, and only then.</summary>
public sealed class FailingStorageTests
{
    private static readonly byte[] s_ones = [1, 1, 1, 1];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task TheChosenWriteFailsTornAndTheNextSucceeds()
    {
        var memory = new MemoryStorage(new byte[520]);
        await using var storage = new FailingStorage(memory) { FailingWrite = 2, TornBytes = 3 };
        await storage.WriteAsync(0, s_ones, Token);

        IOException full = await Assert.ThrowsAsync<IOException>(async () => await storage.WriteAsync(510, s_ones, Token));

        Assert.Equal((28, true, 2), (full.HResult, storage.HasFailed, storage.Writes));
        Assert.Equal([1, 1, 0, 0], memory.ToArray()[510..514]);
        await storage.WriteAsync(510, s_ones, Token);
        Assert.Equal([1, 1, 1, 1], memory.ToArray()[510..514]);
    }

    [Fact]
    public async Task TheChosenGrowthFailsAndOverwritingDoesNot()
    {
        var memory = new MemoryStorage(new byte[4]);
        await using var storage = new FailingStorage(memory) { FailingGrowth = 2 };
        await storage.WriteAsync(4, s_ones, Token);
        await storage.WriteAsync(0, s_ones, Token);

        await Assert.ThrowsAsync<IOException>(async () => await storage.SetLengthAsync(9, Token));

        await storage.WriteAsync(6, s_ones, Token);
        Assert.Equal(10, storage.Length);
    }

    [Fact]
    public async Task ABudgetOfBytesHoldsUntilTheDiskIsMended()
    {
        await using var storage = new FailingStorage(new MemoryStorage(new byte[4])) { GrowthBudgetBytes = 4 };
        await storage.WriteAsync(4, s_ones, Token);

        await Assert.ThrowsAsync<IOException>(async () => await storage.WriteAsync(5, s_ones, Token));
        await Assert.ThrowsAsync<IOException>(async () => await storage.WriteAsync(8, s_ones, Token));
        await storage.WriteAsync(0, s_ones, Token);

        storage.IsMended = true;
        await storage.WriteAsync(8, s_ones, Token);
        Assert.Equal(12, storage.Length);
    }

    [Fact]
    public async Task ADiskThatIsGoneStaysGone()
    {
        await using var storage = new FailingStorage(new MemoryStorage(new byte[4])) { FailingFlush = 1, IsGoneAfterwards = true };
        await storage.WriteAsync(0, s_ones, Token);

        await Assert.ThrowsAsync<IOException>(async () => await storage.FlushAsync(Token));
        await Assert.ThrowsAsync<IOException>(async () => await storage.WriteAsync(0, s_ones, Token));
        await Assert.ThrowsAsync<IOException>(async () => await storage.FlushAsync(Token));
    }

    [Fact]
    public async Task DiscardsFailWhenTheyShould()
    {
        await using var storage = new FailingStorage(new MemoryStorage(new byte[4])) { FailsDiscards = true };

        await Assert.ThrowsAsync<IOException>(async () => await storage.DiscardAsync(0, 4, Token));
        await storage.FlushAsync(Token);
        Assert.Equal(1, storage.Flushes);
    }

    [Fact]
    public async Task ADeviceTakesWhatFitsAndHasItsLengthForGood()
    {
        var memory = new MemoryStorage(new byte[6]);
        await using var storage = new FixedSizeStorage(memory);

        Assert.Equal((6L, (long?)6), (storage.Length, storage.CapacityBytes));
        await storage.WriteAsync(0, s_ones, Token);
        Assert.Equal(28, (await Assert.ThrowsAsync<IOException>(async () => await storage.WriteAsync(4, s_ones, Token))).HResult);
        await Assert.ThrowsAsync<IOException>(async () => await storage.WriteAsync(7, s_ones, Token));
        await Assert.ThrowsAsync<IOException>(async () => await storage.SetLengthAsync(6, Token));
        Assert.Equal([1, 1, 1, 1, 1, 1], memory.ToArray());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task TheChosenCallIsCancelledBeforeItOrBehindIt(bool isDoneFirst)
    {
        using var source = new CancellationTokenSource();
        var memory = new MemoryStorage(new byte[4]);
        await using var storage = new CancellingStorage(memory, source, isDoneFirst) { CancellingCall = 2 };
        await storage.FlushAsync(source.Token);

        Exception? thrown = await Record.ExceptionAsync(async () => await storage.WriteAsync(0, s_ones, source.Token));

        Assert.Equal(isDoneFirst, thrown is null);
        Assert.Equal(isDoneFirst ? 1 : 0, memory.ToArray()[0]);
        await Assert.ThrowsAsync<OperationCanceledException>(async () => await storage.WriteAsync(0, s_ones, source.Token));
        Assert.Equal(3, storage.Calls);
    }
}
