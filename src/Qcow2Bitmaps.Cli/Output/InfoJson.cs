namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Prints what <c>qemu-img info --output=json</c> prints. The order of members is that of QEMU's hash tables.</summary>
internal sealed class InfoJson(QemuJsonWriter json)
{
    private const ulong NanosecondsPerSecond = 1_000_000_000;

    public void Write(ImageReport report)
    {
        json.StartObject();
        Qcow2Image? image = report.Image;
        if (image is { BackingFile: not null, BackingFormat: { Length: > 0 } format })
        {
            json.String("backing-filename-format", format);
        }

        if (image is { Snapshots.Count: > 0 })
        {
            json.StartArray("snapshots");
            foreach (SnapshotInfo snapshot in image.Snapshots)
            {
                WriteSnapshot(snapshot);
            }

            json.EndArray();
        }

        json.Number("virtual-size", report.VirtualSizeBytes);
        json.String("filename", report.FileName);
        if (image is not null)
        {
            json.Number("cluster-size", image.ClusterSizeBytes);
        }

        json.String("format", report.Format);
        if (report.AllocatedBytes is { } allocated)
        {
            json.Number("actual-size", allocated);
        }

        if (image is not null)
        {
            json.StartObject("format-specific");
            json.String("type", report.Format);
            json.StartObject("data");
            WriteNodes(FormatSpecificInfo.Of(image, report.Luks));
            json.EndObject();
            json.EndObject();
        }

        if (report.FullBackingFile is { } fullName)
        {
            json.String("full-backing-filename", fullName);
        }

        if (report.IsEncrypted)
        {
            json.Boolean("encrypted", true);
        }

        if (image?.BackingFile is { } backingFile)
        {
            json.String("backing-filename", backingFile);
        }

        json.Boolean("dirty-flag", report.IsDirty);
        json.EndObject();
    }

    private void WriteSnapshot(SnapshotInfo snapshot)
    {
        json.StartObject();
        if (snapshot.InstructionCount is { } count)
        {
            // QEMU holds the count as a signed number.
            json.Number("icount", unchecked((long)count));
        }

        json.Number("vm-clock-nsec", snapshot.VmClockNanoseconds % NanosecondsPerSecond);
        json.String("name", snapshot.Name);
        json.Number("date-sec", snapshot.Time.ToUnixTimeSeconds());
        json.Number("date-nsec", snapshot.Nanoseconds);
        json.Number("vm-clock-sec", snapshot.VmClockNanoseconds / NanosecondsPerSecond);
        json.String("id", snapshot.Id);
        json.Number("vm-state-size", unchecked((long)snapshot.VmStateSizeBytes));
        json.EndObject();
    }

    private void WriteNodes(IReadOnlyList<InfoNode> nodes)
    {
        foreach (InfoNode node in nodes)
        {
            string? name = node.Name.Length > 0 ? node.Name : null;
            switch (node)
            {
                case InfoNode.Leaf { Value: string text }:
                    json.String(name, text);
                    break;
                case InfoNode.Leaf { Value: bool truth }:
                    json.Boolean(name, truth);
                    break;
                case InfoNode.Leaf { Value: long number }:
                    json.Number(name, number);
                    break;
                case InfoNode.Group group:
                    json.StartObject(name);
                    WriteNodes(group.Members);
                    json.EndObject();
                    break;
                case InfoNode.Items items:
                    json.StartArray(name);
                    WriteNodes(items.Members);
                    json.EndArray();
                    break;
                default:
                    throw new InvalidOperationException($"No JSON for {node}");
            }
        }
    }
}
