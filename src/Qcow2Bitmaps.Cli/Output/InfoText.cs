using System.Globalization;
using System.Text;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Prints what <c>qemu-img info</c> prints for people.</summary>
internal sealed class InfoText(ToolWriter output)
{
    private const ulong NanosecondsPerMillisecond = 1_000_000;

    public void Write(ImageReport report)
    {
        output.WriteLine($"image: {output.Foreign(report.FileName)}");
        output.WriteLine($"file format: {report.Format}");
        output.WriteLine($"virtual size: {SizeText.Of((ulong)report.VirtualSizeBytes)} ({report.VirtualSizeBytes} bytes)");
        output.WriteLine($"disk size: {(report.AllocatedBytes is { } allocated ? SizeText.Of((ulong)allocated) : "unavailable")}");
        if (report.IsEncrypted)
        {
            output.WriteLine("encrypted: yes");
        }

        if (report.Image is not { } image)
        {
            return;
        }

        output.WriteLine($"cluster_size: {image.ClusterSizeBytes}");
        if (report.IsDirty)
        {
            output.WriteLine("cleanly shut down: no");
        }

        WriteBackingFile(image, report.FullBackingFile);
        WriteSnapshots(image.Snapshots);
        output.WriteLine("Format specific information:");
        WriteNodes(FormatSpecificInfo.Of(image, report.Luks), 1);
    }

    private void WriteBackingFile(Qcow2Image image, string? fullName)
    {
        if (image.BackingFile is null)
        {
            return;
        }

        string actual = fullName is not null && !string.Equals(fullName, image.BackingFile, StringComparison.Ordinal)
            ? $" (actual path: {output.Foreign(fullName)})"
            : "";
        output.WriteLine($"backing file: {output.Foreign(image.BackingFile)}{actual}");
        if (image.BackingFormat is { Length: > 0 } format)
        {
            output.WriteLine($"backing file format: {output.Foreign(format)}");
        }
    }

    private void WriteSnapshots(IReadOnlyList<SnapshotInfo> snapshots)
    {
        if (snapshots.Count == 0)
        {
            return;
        }

        output.WriteLine("Snapshot list:");
        WriteSnapshotRow("ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
        foreach (SnapshotInfo snapshot in snapshots)
        {
            WriteSnapshotRow(
                output.Foreign(snapshot.Id),
                output.Foreign(snapshot.Name),
                SizeText.Of(snapshot.VmStateSizeBytes),
                snapshot.Time.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture),
                Clock(snapshot.VmClockNanoseconds),
                snapshot.InstructionCount?.ToString(CultureInfo.InvariantCulture) ?? "");
        }
    }

    private void WriteSnapshotRow(string id, string tag, string size, string date, string clock, string instructionCount) =>
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

    private void WriteNodes(IReadOnlyList<InfoNode> nodes, int depth)
    {
        for (int i = 0; i < nodes.Count; i++)
        {
            InfoNode node = nodes[i];
            string label = node.Name.Length > 0
                ? node.Name.Replace('-', ' ')
                : string.Create(CultureInfo.InvariantCulture, $"[{i}]");
            var line = new StringBuilder().Append(' ', 4 * depth).Append(label).Append(':');
            switch (node)
            {
                case InfoNode.Leaf leaf:
                    output.WriteLine(line.Append(' ').Append(Show(leaf.Value)).ToString());
                    break;
                case InfoNode.Group group:
                    output.WriteLine(line.ToString());
                    WriteNodes(group.Members, depth + 1);
                    break;
                case InfoNode.Items items:
                    output.WriteLine(line.ToString());
                    WriteNodes(items.Members, depth + 1);
                    break;
                default:
                    throw new InvalidOperationException($"No text for {node}");
            }
        }
    }

    private string Show(object value) => value switch
    {
        string text => output.Foreign(text),
        bool truth => truth ? "true" : "false",
        _ => string.Create(CultureInfo.InvariantCulture, $"{value}"),
    };
}
