namespace Qcow2Bitmaps.Backups;

/// <summary>A part of a longer work tells how far it is.</summary>
internal sealed class ProgressShare : IProgress<OperationProgress>
{
    private readonly IProgress<OperationProgress> _whole;
    private readonly long _before;
    private readonly long _total;

    private ProgressShare(IProgress<OperationProgress> whole, long before, long total)
    {
        _whole = whole;
        _before = before;
        _total = total;
    }

    public static IProgress<OperationProgress>? Of(IProgress<OperationProgress>? whole, long beforeBytes, long totalBytes) =>
        whole is null ? null : new ProgressShare(whole, beforeBytes, totalBytes);

    public void Report(OperationProgress value) => _whole.Report(new OperationProgress(_before + value.DoneBytes, _total));
}
