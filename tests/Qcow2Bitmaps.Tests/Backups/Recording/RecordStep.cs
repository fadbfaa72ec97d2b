using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Backups.Recording;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>A step of a random sequence.</summary>
internal sealed record RecordStep(RecordAction Action)
{
    public string Name { get; init; } = "";

    public IReadOnlyList<string> Sources { get; init; } = [];

    public long? Granularity { get; init; }

    public bool IsPersistent { get; init; }

    public bool IsRecording { get; init; }

    public BackupSync Sync { get; init; }

    public BitmapSyncMode? Mode { get; init; }

    public long Offset { get; init; }

    public int Length { get; init; }

    public byte Fill { get; init; }

    public override string ToString() => Action switch
    {
        RecordAction.Add => $"add {Name} {Granularity} {(IsPersistent ? "persistent" : "transient")} {(IsRecording ? "" : "disabled")}",
        RecordAction.Merge => $"merge {string.Join(',', Sources)} into {Name}",
        RecordAction.Backup => $"backup {Sync} {Name} {Mode}",
        RecordAction.Write or RecordAction.Zero or RecordAction.Discard => $"{Action} {Offset}+{Length}",
        _ => $"{Action} {Name}",
    };
}
