using System.Text.Json;
using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Qmp.Nodes;
using Qcow2Bitmaps.Qmp.Protocol;

namespace Qcow2Bitmaps.Qmp.Commands;

/// <summary>
/// Lists images and bitmaps. Of QEMU's description of an image, only the parts about the image and its bitmaps have real values.
/// </summary>
internal static class QueryCommands
{
    public static void AddTo(QmpCommands commands, QmpNodes nodes)
    {
        commands.Add("query-block", (arguments, _) =>
        {
            arguments.Finish();
            return ValueTask.FromResult<QmpResult?>(writer =>
            {
                writer.WriteStartArray();
                foreach (QmpNode node in nodes.All)
                {
                    writer.WriteStartObject();
                    writer.WriteString("device", node.Name);
                    writer.WriteString("type", "unknown");
                    writer.WriteBoolean("removable", false);
                    writer.WriteBoolean("locked", false);
                    writer.WriteString("qdev", "");
                    writer.WritePropertyName("inserted");
                    WriteNode(writer, node);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            });
        });
        commands.Add("query-named-block-nodes", (arguments, _) =>
        {
            arguments.OptionalBoolean("flat");
            arguments.Finish();
            return ValueTask.FromResult<QmpResult?>(writer =>
            {
                writer.WriteStartArray();
                foreach (QmpNode node in nodes.All.Reverse())
                {
                    WriteNode(writer, node);
                }

                writer.WriteEndArray();
            });
        });
        commands.Add("x-debug-block-dirty-bitmap-sha256", (arguments, _) =>
        {
            string node = arguments.String("node");
            string name = arguments.String("name");
            arguments.Finish();
            string sha256 = Convert.ToHexStringLower(nodes.Node(node).Session.CopyBits(name).Sha256());
            return ValueTask.FromResult<QmpResult?>(writer =>
            {
                writer.WriteStartObject();
                writer.WriteString("sha256", sha256);
                writer.WriteEndObject();
            });
        });
    }

    private static void WriteNode(Utf8JsonWriter writer, QmpNode node)
    {
        ImageChain chain = node.Session.Chain;
        writer.WriteStartObject();
        writer.WriteString("node-name", node.Name);
        writer.WriteString("file", node.Path);
        writer.WriteString("drv", "qcow2");
        writer.WriteBoolean("ro", !node.Session.CanWrite);
        writer.WriteBoolean("encrypted", false);
        if (chain.Layers[0].RequireImage().BackingFile is { } backing)
        {
            writer.WriteString("backing_file", backing);
        }

        writer.WriteNumber("backing_file_depth", chain.Layers.Count - 1);
        writer.WriteString("detect_zeroes", "off");
        foreach (string limit in (ReadOnlySpan<string>)["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr", "write_threshold"])
        {
            writer.WriteNumber(limit, 0);
        }

        writer.WriteStartObject("cache");
        writer.WriteBoolean("writeback", true);
        writer.WriteBoolean("direct", false);
        writer.WriteBoolean("no-flush", false);
        writer.WriteEndObject();
        WriteImage(writer, chain.Layers[0], node.Path);
        WriteBitmaps(writer, node.Session.Bitmaps);
        writer.WriteEndObject();
    }

    private static void WriteImage(Utf8JsonWriter writer, ChainLayer layer, string path)
    {
        Qcow2Image image = layer.RequireImage();
        writer.WriteStartObject("image");
        writer.WriteString("filename", path);
        writer.WriteString("format", "qcow2");
        writer.WriteNumber("virtual-size", image.VirtualSizeBytes);
        if (layer.AllocatedBytes is { } allocated)
        {
            writer.WriteNumber("actual-size", allocated);
        }

        writer.WriteNumber("cluster-size", image.ClusterSizeBytes);
        writer.WriteBoolean("dirty-flag", false);
        if (image.BackingFile is { } backing)
        {
            writer.WriteString("backing-filename", backing);
        }

        writer.WriteEndObject();
    }

    /// <summary>Writes the bitmaps; the unnamed successor of a bitmap that a job uses comes after it. Omitted if there are none.</summary>
    private static void WriteBitmaps(Utf8JsonWriter writer, IReadOnlyList<RecordedBitmap> bitmaps)
    {
        if (bitmaps.Count == 0)
        {
            return;
        }

        writer.WriteStartArray("dirty-bitmaps");
        foreach (RecordedBitmap bitmap in bitmaps)
        {
            WriteBitmap(writer, bitmap, bitmap.CountBytes);
            if (bitmap.SuccessorCountBytes is { } count)
            {
                WriteBitmap(writer, bitmap, count, isSuccessor: true);
            }
        }

        writer.WriteEndArray();
    }

    private static void WriteBitmap(Utf8JsonWriter writer, RecordedBitmap bitmap, long count, bool isSuccessor = false)
    {
        writer.WriteStartObject();
        if (!isSuccessor)
        {
            writer.WriteString("name", bitmap.Name);
        }

        writer.WriteNumber("count", count);
        writer.WriteNumber("granularity", bitmap.GranularityBytes);
        writer.WriteBoolean("recording", bitmap.IsRecording);
        writer.WriteBoolean("busy", bitmap.IsBusy && !isSuccessor);
        writer.WriteBoolean("persistent", bitmap.IsPersistent && !isSuccessor);
        if (bitmap.IsInconsistent && !isSuccessor)
        {
            writer.WriteBoolean("inconsistent", true);
        }

        writer.WriteEndObject();
    }
}
