namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>Ends a copy when so many bytes are done: by an error, or by cancelling it.</summary>
internal sealed class CopyFuse(long bytes, CancellationTokenSource? cancellation) : IProgress<OperationProgress>
{
    public bool HasBlown { get; private set; }

    public void Report(OperationProgress value)
    {
        if (value.DoneBytes < bytes)
        {
            return;
        }

        HasBlown = true;
        if (cancellation is null)
        {
            throw new IOException("The fuse has blown");
        }

        cancellation.Cancel();
    }
}
