using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Backups.Recording;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>What a session is to do, in the plainest way.</summary>
internal sealed class RecordModel
{
    private readonly HashSet<string> _leaving = new(StringComparer.Ordinal);
    private List<ModelBitmap> _bitmaps = [];

    public byte[] Disk { get; } = new byte[RecordCase.DiskBytes];

    public IReadOnlyList<ModelBitmap> Bitmaps => _bitmaps;

    /// <summary>Takes a transaction's steps: all of them, or none.</summary>
    /// <returns>Whether they are accepted.</returns>
    public bool TryApply(IReadOnlyList<RecordStep> steps)
    {
        List<ModelBitmap> before = [.. _bitmaps];
        _leaving.Clear();
        if (steps.All(TryApply))
        {
            _bitmaps.RemoveAll(bitmap => _leaving.Contains(bitmap.Name));
            return true;
        }

        _bitmaps = before;
        return false;
    }

    public void Record(long offset, long length) => _bitmaps.ForEach(bitmap => bitmap.Record(offset, length));

    public void Reopen() => _bitmaps.RemoveAll(static bitmap => !bitmap.IsPersistent);

    /// <summary>Ends a job.</summary>
    /// <param name="step">How it was started.</param>
    /// <param name="isSuccess">Whether it copied all.</param>
    /// <param name="remaining">The units of 64 KiB that it did not copy.</param>
    public void EndJob(RecordStep step, bool isSuccess, bool[] remaining)
    {
        if (Find(step.Name) is not { Successor: { } successor } bitmap)
        {
            return;
        }

        BitmapSyncMode mode = step.Sync == BackupSync.Incremental ? BitmapSyncMode.OnSuccess : step.Mode!.Value;
        _bitmaps.Remove(bitmap);
        if (mode == BitmapSyncMode.Never || (mode == BitmapSyncMode.OnSuccess && !isSuccess))
        {
            _bitmaps.Add((bitmap with { Successor = null }).With(successor, bitmap.Granularity));
            return;
        }

        ModelBitmap ended = bitmap with { Bits = successor, Successor = null };
        _bitmaps.Add(isSuccess ? ended : ended.With(remaining, ModelTarget.UnitBytes));
    }

    public ModelBitmap? Find(string name) => _bitmaps.Find(bitmap => bitmap.Name == name);

    private bool TryApply(RecordStep step)
    {
        ModelBitmap? bitmap = Find(step.Name);
        if (step.Action == RecordAction.Add)
        {
            if (bitmap is null)
            {
                _bitmaps.Add(ModelBitmap.New(step.Name, (int)(step.Granularity ?? 65536), step.IsPersistent, step.IsRecording));
            }

            return bitmap is null;
        }

        if (bitmap is null || bitmap.IsBusy || _leaving.Contains(step.Name))
        {
            return false;
        }

        ModelBitmap? after = step.Action switch
        {
            RecordAction.Remove => bitmap,
            RecordAction.Enable => bitmap with { IsRecording = true },
            RecordAction.Disable => bitmap with { IsRecording = false },
            RecordAction.Clear => bitmap with { Bits = ModelBitmap.Clean(bitmap.Granularity) },
            RecordAction.Merge => Merge(bitmap, step.Sources),
            RecordAction.Backup => Freeze(bitmap, step),
            _ => throw new ArgumentOutOfRangeException(nameof(step), step, null),
        };
        if (after is null)
        {
            return false;
        }

        _bitmaps.Remove(bitmap);
        _bitmaps.Add(after);
        if (step.Action == RecordAction.Remove)
        {
            // It stays in the way until all steps are done.
            _leaving.Add(step.Name);
        }

        return true;
    }

    private ModelBitmap? Merge(ModelBitmap bitmap, IReadOnlyList<string> sources) =>
        sources.Select(Find).Any(source => source is null || source.IsBusy || _leaving.Contains(source.Name))
        ? null
        : sources.Select(Find).Aggregate(bitmap, static (merged, source) => merged.With(source!.Bits, source.Granularity));

    private static ModelBitmap? Freeze(ModelBitmap bitmap, RecordStep step)
    {
        bool isAllowed = step switch
        {
            { Sync: BackupSync.Incremental, Mode: not (null or BitmapSyncMode.OnSuccess) } => false,
            { Sync: BackupSync.Full, Mode: BitmapSyncMode.Never } => false,
            _ => true,
        };
        return isAllowed ? bitmap with { Successor = ModelBitmap.Clean(bitmap.Granularity) } : null;
    }
}
