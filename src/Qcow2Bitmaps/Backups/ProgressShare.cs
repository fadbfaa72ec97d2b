namespace Qcow2Bitmaps.Backups;

/// <summary>Reports the progress of a part as that of the whole operation.</summary>
internal sealed class ProgressShare(IProgress<OperationProgress>? whole, long beforeBytes, long totalBytes) : IProgress<OperationProgress>
{
    public void Report(OperationProgress value) =>
        whole?.Report(new OperationProgress(DiskBytes.Add(beforeBytes, value.DoneBytes), totalBytes));
}
