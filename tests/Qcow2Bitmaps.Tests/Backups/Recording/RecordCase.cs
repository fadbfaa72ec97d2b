using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Tests.Hostile;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>A random sequence: each element is a transaction, or one step.</summary>
internal sealed class RecordCase
{
    /// <summary>No whole number of clusters.</summary>
    public const int DiskBytes = (3 << 20) + 1536;

    private const int SectorBytes = 512;

    private static readonly string[] s_names = ["a", "b", "c", "d"];
    private static readonly RecordAction[] s_guest = [RecordAction.Write, RecordAction.Write, RecordAction.Zero, RecordAction.Discard];
    private static readonly RecordAction[] s_bitmaps =
        [
            RecordAction.Add, RecordAction.Add, RecordAction.Add, RecordAction.Remove, RecordAction.Enable, RecordAction.Disable,
            RecordAction.Clear, RecordAction.Merge, RecordAction.Merge,
        ];
    private static readonly RecordAction[] s_session = [RecordAction.Checkpoint, RecordAction.Reopen];
    private static readonly RecordAction[] s_jobs = [
        RecordAction.Backup, RecordAction.Backup, RecordAction.FinishJob, RecordAction.CancelJob, RecordAction.FailJob,
    ];

    private readonly int _seed;
    private readonly SplitMix _random;
    private readonly bool _hasJobs;

    public RecordCase(int seed, int count, bool hasJobs)
    {
        _seed = seed;
        _random = new SplitMix((ulong)seed);
        _hasJobs = hasJobs;
        Items = [.. Enumerable.Range(0, count).Select(_ => Item())];
    }

    public IReadOnlyList<IReadOnlyList<RecordStep>> Items { get; }

    public override string ToString() =>
        $"seed {_seed}: {string.Join("; ", Items.Select(static item => item.Count == 1 ? $"{item[0]}" : $"[{string.Join(", ", item)}]"))}";

    private IReadOnlyList<RecordStep> Item() => _random.Below(_hasJobs ? 10 : 8) switch
    {
        0 or 1 or 2 => [Guest()],
        3 or 4 => [Bitmap(_random.Pick(s_bitmaps))],
        5 or 6 =>
            [.. Enumerable.Range(0, 2 + _random.Below(4))
                .Select(_ => Bitmap(_hasJobs && _random.Below(6) == 0 ? RecordAction.Backup : _random.Pick(s_bitmaps)))],
        7 => [
            new RecordStep(_random.Below(3) > 0 ? RecordAction.Write : _random.Pick(s_session))
            {
                Length = SectorBytes,
                Fill = (byte)_random.Below(256),
            }],
        _ => [Bitmap(_random.Pick(s_jobs))],
    };

    private RecordStep Guest()
    {
        long offset = (long)_random.Below(DiskBytes / SectorBytes) * SectorBytes;
        int limit = _random.Below(3) == 0 ? DiskBytes : 200_000;
        return new RecordStep(_random.Pick(s_guest))
        {
            Offset = offset,
            Length = SectorBytes * (int)Math.Min((DiskBytes - offset) / SectorBytes, 1 + _random.Below(limit / SectorBytes)),
            Fill = (byte)(1 + _random.Below(255)),
        };
    }

    private RecordStep Bitmap(RecordAction action) => new(action)
    {
        Name = _random.Pick(s_names),
        Sources = [.. Enumerable.Range(0, 1 + _random.Below(2)).Select(_ => _random.Pick(s_names))],
        Granularity = _random.Pick<long?>([null, 512, 4096, 65536, 131072]),
        IsPersistent = _random.Below(2) == 0,
        IsRecording = _random.Below(4) > 0,
        Sync = _random.Pick([BackupSync.Full, BackupSync.Incremental, BackupSync.Bitmap]),
        Mode = _random.Pick<BitmapSyncMode?>(
            [BitmapSyncMode.OnSuccess, BitmapSyncMode.Always, BitmapSyncMode.Never, BitmapSyncMode.OnSuccess]),
    };
}
