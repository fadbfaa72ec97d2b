namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Prints a chain and the verdicts on its bitmaps as JSON.</summary>
internal static class VerdictJson
{
    public static void Write(ImageChain chain, IReadOnlyList<BitmapVerdict> verdicts, ToolWriter output)
    {
        var json = new QemuJsonWriter(output);
        json.StartObject();
        json.StartArray("images");
        foreach (ChainLayer layer in chain.Layers)
        {
            WriteLayer(json, layer);
        }

        json.EndArray();
        json.StartArray("bitmaps");
        foreach (BitmapVerdict verdict in verdicts)
        {
            WriteVerdict(json, verdict);
        }

        json.EndArray();
        json.Boolean("all-valid", chain.OpenElsewhere is null && verdicts.All(static verdict => verdict.IsValid));
        json.EndObject();
        json.Complete();
    }

    private static void WriteLayer(QemuJsonWriter json, ChainLayer layer)
    {
        json.StartObject();
        json.Number("index", layer.Index);
        json.String("file", layer.Path);
        json.String("format", layer.Format);
        json.Number("virtual-size", layer.VirtualSizeBytes);
        if (layer.IsOpenForWritingElsewhere)
        {
            json.Boolean("open-elsewhere", true);
        }

        if (layer.HasIgnoredBitmaps)
        {
            json.Boolean("bitmaps-ignored", true);
        }

        json.StartArray("bitmaps");
        foreach (BitmapInfo bitmap in layer.Bitmaps)
        {
            json.StartObject();
            json.String("name", bitmap.Name);
            json.Number("granularity", bitmap.GranularityBytes);
            json.StartArray("flags");
            foreach (string flag in FormatSpecificInfo.Flags(bitmap.Flags))
            {
                json.String(null, flag);
            }

            json.EndArray();
            json.EndObject();
        }

        json.EndArray();
        json.EndObject();
    }

    private static void WriteVerdict(QemuJsonWriter json, BitmapVerdict verdict)
    {
        json.StartObject();
        json.String("name", verdict.Name);
        json.Boolean("valid", verdict.IsValid);
        json.StartArray("images");
        foreach (int index in verdict.ImageIndexes)
        {
            json.Number(null, index);
        }

        json.EndArray();
        VerdictText.WriteMembers(verdict, json);
        json.EndObject();
    }
}
