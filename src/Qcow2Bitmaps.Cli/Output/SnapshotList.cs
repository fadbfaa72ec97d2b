using System.Globalization;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Prints the table of internal snapshots as qemu-img does.</summary>
internal sealed class SnapshotList(ToolWriter output)
{
    private const ulong NanosecondsPerMillisecond = 1_000_000;

    /// <summary>Prints the table; nothing without snapshots.</summary>
    public void Write(IReadOnlyList<SnapshotInfo> snapshots)
    {
        if (snapshots.Count == 0)
        {
            return;
        }

        output.WriteLine("Snapshot list:");
        WriteRow("ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
        foreach (SnapshotInfo snapshot in snapshots)
        {
            WriteRow(
                output.Foreign(snapshot.Id),
                output.Foreign(snapshot.Name),
                SizeText.Of(snapshot.VmStateSizeBytes),
                snapshot.Time.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture),
                Clock(snapshot.VmClockNanoseconds),
                snapshot.InstructionCount?.ToString(CultureInfo.InvariantCulture) ?? "");
        }
    }

    private void WriteRow(string id, string tag, string size, string date, string clock, string instructionCount) =>
        output.WriteLine($"{PadBytes(id, 9)} {PadBytes(tag, 16)} {size,8}{date,20}{clock,13}{instructionCount,11}");

    // C's printf pads by bytes, not by characters.
    private static string PadBytes(string text, int width) =>
        text + new string(' ', Math.Max(0, width - ImageText.Encode(text).Length));

    private static string Clock(ulong nanoseconds)
    {
        ulong milliseconds = nanoseconds / NanosecondsPerMillisecond;
        ulong seconds = milliseconds / 1000;
        return string.Create(
            CultureInfo.InvariantCulture, $"{seconds / 3600:00}:{seconds / 60 % 60:00}:{seconds % 60:00}.{milliseconds % 1000:000}");
    }
}
