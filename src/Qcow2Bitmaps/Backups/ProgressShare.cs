namespace Qcow2Bitmaps.Backups;

/// <summary>A part of a longer work tells how far it is.</summary>
internal sealed class ProgressShare : IProgress<long>
{
    private readonly IProgress<BackupProgress> _whole;
    private readonly long _before;
    private readonly long _total;

    private ProgressShare(IProgress<BackupProgress> whole, long before, long total)
    {
        _whole = whole;
        _before = before;
        _total = total;
    }

    public static IProgress<long>? Of(IProgress<BackupProgress>? whole, long beforeBytes, long totalBytes) =>
        whole is null ? null : new ProgressShare(whole, beforeBytes, totalBytes);

    public void Report(long value) => _whole.Report(new BackupProgress(_before + value, _total));
}
