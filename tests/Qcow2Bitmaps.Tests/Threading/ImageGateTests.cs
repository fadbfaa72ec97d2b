using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Tests.Threading;

/// <summary>The gate of an image.</summary>
public sealed class ImageGateTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task LeavingTwiceLetsOneIn()
    {
        var gate = new ImageGate();
        ImageGate.Release first = await gate.EnterAsync(Token);
        ImageGate.Release copy = first;
        first.Dispose();
        ImageGate.Release second = await gate.EnterAsync(Token);
        copy.Dispose();
        Task<ImageGate.Release> third = gate.EnterAsync(Token).AsTask();
        Assert.False(third.IsCompleted);
        second.Dispose();
        (await third).Dispose();
    }

    /// <summary>An image that is closed during the wait is not changed any more, and whoever waits behind is told, too.</summary>
    [Fact]
    public async Task WhoWaitsWhileTheImageIsClosedDoesNotEnter()
    {
        var gate = new ImageGate();
        ImageGate.Release held = await gate.EnterAsync(Token);
        Task<ImageGate.Release>[] waiting = [gate.EnterAsync(Token).AsTask(), gate.EnterAsync(Token).AsTask()];

        gate.Close();
        held.Dispose();

        foreach (Task<ImageGate.Release> late in waiting)
        {
            await Assert.ThrowsAsync<ObjectDisposedException>(() => late);
        }
    }
}
