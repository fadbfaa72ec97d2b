using Qcow2Bitmaps.Tests.Support;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Tests.Threading;

/// <summary>Who may hold a shared lock when, and what a wait that is given up leaves.</summary>
public sealed class SharedLockTests
{
    private static readonly CancellationToken s_none = CancellationToken.None;

    [Fact]
    public async Task ManyHoldItTogetherOneAlone()
    {
        var shared = new SharedLock();
        SharedLock.Release first = await shared.EnterAsync(s_none);
        SharedLock.Release second = await shared.EnterAsync(s_none);
        Task<SharedLock.Release> alone = shared.EnterAloneAsync(s_none).AsTask();
        Task<SharedLock.Release> third = shared.EnterAsync(s_none).AsTask();
        first.Dispose();
        Assert.False(alone.IsCompleted);
        second.Dispose();
        SharedLock.Release held = await alone.WaitAsync(Patience.Limit, TestContext.Current.CancellationToken);
        Assert.False(third.IsCompleted);
        held.Dispose();
        (await third.WaitAsync(Patience.Limit, TestContext.Current.CancellationToken)).Dispose();
    }

    [Fact]
    public async Task AWaitThatIsCancelledLetsThoseBehindIn()
    {
        var shared = new SharedLock();
        SharedLock.Release first = await shared.EnterAsync(s_none);
        using var cancel = new CancellationTokenSource();
        Task<SharedLock.Release> alone = shared.EnterAloneAsync(cancel.Token).AsTask();
        Task<SharedLock.Release> behind = shared.EnterAsync(s_none).AsTask();
        Assert.False(behind.IsCompleted);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => alone);
        SharedLock.Release second = await behind.WaitAsync(Patience.Limit, TestContext.Current.CancellationToken);
        first.Dispose();
        second.Dispose();
        (await shared.EnterAloneAsync(s_none)).Dispose();
    }

    [Fact]
    public async Task CancellingLateChangesNothing()
    {
        var shared = new SharedLock();
        SharedLock.Release first = await shared.EnterAloneAsync(s_none);
        using var cancel = new CancellationTokenSource();
        Task<SharedLock.Release> next = shared.EnterAloneAsync(cancel.Token).AsTask();
        first.Dispose();
        SharedLock.Release second = await next.WaitAsync(Patience.Limit, TestContext.Current.CancellationToken);
        await cancel.CancelAsync();
        Task<SharedLock.Release> last = shared.EnterAsync(s_none).AsTask();
        Assert.False(last.IsCompleted);
        second.Dispose();
        (await last.WaitAsync(Patience.Limit, TestContext.Current.CancellationToken)).Dispose();
    }

    /// <summary>A release is a value, which can be copied.</summary>
    [Fact]
    public async Task GivingUpTwiceGivesUpOnce()
    {
        var shared = new SharedLock();
        SharedLock.Release first = await shared.EnterAsync(s_none);
        SharedLock.Release second = await shared.EnterAsync(s_none);
        SharedLock.Release copy = first;
        first.Dispose();
        copy.Dispose();
        Task<SharedLock.Release> alone = shared.EnterAloneAsync(s_none).AsTask();
        Assert.False(alone.IsCompleted);
        second.Dispose();
        SharedLock.Release held = await alone.WaitAsync(Patience.Limit, TestContext.Current.CancellationToken);
        second.Dispose();
        copy.Dispose();
        Task<SharedLock.Release> next = shared.EnterAloneAsync(s_none).AsTask();
        Assert.False(next.IsCompleted);
        held.Dispose();
        await next.WaitAsync(Patience.Limit, TestContext.Current.CancellationToken);
        held.Dispose();
        Assert.False(shared.EnterAsync(s_none).IsCompleted);
    }

    [Fact]
    public async Task WhoIsCancelledBeforeDoesNotEnter()
    {
        var shared = new SharedLock();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => shared.EnterAsync(new CancellationToken(canceled: true)).AsTask());
        (await shared.EnterAloneAsync(s_none)).Dispose();
    }
}
