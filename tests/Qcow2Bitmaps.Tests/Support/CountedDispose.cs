namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Counts how often it is disposed.</summary>
internal sealed class CountedDispose : IAsyncDisposable
{
    public int Disposals { get; private set; }

    public ValueTask DisposeAsync()
    {
        Disposals++;
        return ValueTask.CompletedTask;
    }
}
