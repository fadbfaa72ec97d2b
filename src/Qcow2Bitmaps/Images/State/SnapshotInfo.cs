using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>One internal snapshot as listed in the snapshot table. Immutable and safe to share between threads.</summary>
public sealed record SnapshotInfo
{
    internal SnapshotInfo()
    {
    }

    /// <summary>The id, which is unique. As QEMU shows it: it ends at a NUL.</summary>
    public required string Id { get; init; }

    /// <summary>The name. As QEMU shows it: it ends at a NUL.</summary>
    public required string Name { get; init; }

    /// <summary>When it was taken, UTC, to the second.</summary>
    public required DateTimeOffset Time { get; init; }

    /// <summary>Nanoseconds within the second of <see cref="Time"/>, as stored.</summary>
    public required uint Nanoseconds { get; init; }

    /// <summary>How long the guest had run, in nanoseconds.</summary>
    public required ulong VmClockNanoseconds { get; init; }

    /// <summary>The size of the saved VM state in bytes.</summary>
    public required ulong VmStateSizeBytes { get; init; }

    /// <summary>The disk's size in bytes when the snapshot was taken; null if not stored.</summary>
    public required ulong? DiskSizeBytes { get; init; }

    /// <summary>How many instructions the guest had executed; null when that was not counted.</summary>
    public required ulong? InstructionCount { get; init; }

    /// <summary>Where the snapshot's L1 table starts, in bytes from the start of the file.</summary>
    internal ulong L1TableOffset { get; init; }

    /// <summary>Entries of the snapshot's L1 table.</summary>
    internal uint L1Size { get; init; }

    /// <summary>The extra data's length in bytes; version 3 demands 16.</summary>
    internal int ExtraDataBytes { get; init; }

    /// <summary>The L1 table's length in bytes.</summary>
    internal long L1TableBytes => ImageGeometry.BytesOfEntries(L1Size);

    internal static SnapshotInfo Of(SnapshotEntry entry) => new()
    {
        Id = ImageText.DecodeUpToNul(entry.Id),
        Name = ImageText.DecodeUpToNul(entry.Name),
        Time = DateTimeOffset.FromUnixTimeSeconds(entry.Seconds),
        Nanoseconds = entry.Nanoseconds,
        VmClockNanoseconds = entry.VmClockNanoseconds,
        VmStateSizeBytes = entry.VmStateSizeBytes,
        DiskSizeBytes = entry.DiskSizeBytes,
        InstructionCount = entry.InstructionCount,
        L1TableOffset = entry.L1TableOffset,
        L1Size = entry.L1Size,
        ExtraDataBytes = entry.ExtraData.Length,
    };

    /// <summary>Whether the entry is one of zeros.</summary>
    internal bool IsNothing => Id.Length == 0 && Name.Length == 0 && L1TableOffset == 0 && L1Size == 0 && ExtraDataBytes == 0;
}
