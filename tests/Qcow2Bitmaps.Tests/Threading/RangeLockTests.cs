using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Tests.Threading;

/// <summary>Ranges of which each has one holder.</summary>
public sealed class RangeLockTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task GivingUpTwiceGivesUpOnce()
    {
        var ranges = new RangeLock();
        RangeLock.Release first = await ranges.EnterAsync(0, 10, Token);
        RangeLock.Release copy = first;
        first.Dispose();
        RangeLock.Release second = await ranges.EnterAsync(5, 15, Token);
        copy.Dispose();
        Task<RangeLock.Release> third = ranges.EnterAsync(0, 10, Token).AsTask();
        Assert.False(third.IsCompleted);
        second.Dispose();
        (await third).Dispose();
    }
}
