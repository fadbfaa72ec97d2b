using System.Globalization;
using System.Text;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Prints what <c>qemu-img info</c> prints for people.</summary>
internal sealed class InfoText(ToolWriter output)
{
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
        new SnapshotList(output).Write(image.Snapshots);
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
