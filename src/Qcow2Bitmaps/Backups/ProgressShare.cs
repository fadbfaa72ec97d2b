namespace Qcow2Bitmaps.Backups;

/// <summary>A part of a longer work tells how far it is.</summary>
internal sealed class ProgressShare(IProgress<OperationProgress>? whole, long beforeBytes, long totalBytes) : IProgress<OperationProgress>
{
    public void Report(OperationProgress value) => whole?.Report(new OperationProgress(beforeBytes + value.DoneBytes, totalBytes));
}
