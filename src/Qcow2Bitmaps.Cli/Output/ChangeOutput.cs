using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Prints what an operation on a chain did, above all to bitmaps.</summary>
internal static class ChangeOutput
{
    /// <summary>Prints an operation that changes bitmaps only.</summary>
    public static void Write(
        string done, IReadOnlyList<BitmapChange> changes, IReadOnlyList<BitmapVerdict> verdicts, bool asJson, ToolWriter output) =>
        Write(done, changes, verdicts, asJson, output, static _ => { });

    /// <summary>Prints an operation that copies; null where it was done before.</summary>
    public static void Write(string done, ChainResult? result, bool asJson, ToolWriter output, params IReadOnlyList<string> removed) =>
        Write(done, result?.Bitmaps ?? [], result?.Verdicts ?? [], asJson, output, json =>
    {
        json.Number("copied", result?.CopiedBytes ?? 0);
        json.StartArray("removed");
        foreach (string path in removed)
        {
            json.String(null, path);
        }

        json.EndArray();
        json.StartArray("rebased");
        if (result?.RebasedImage is not null)
        {
            json.StartObject();
            json.String("image", result.RebasedImage);
            if (result.BackingFile is not null)
            {
                json.String("backing-filename", result.BackingFile);
            }

            json.EndObject();
        }

        json.EndArray();
    });

    public static void WriteMembers(IReadOnlyList<BitmapChange> changes, QemuJsonWriter json)
    {
        json.StartArray("bitmaps");
        foreach (BitmapChange change in changes)
        {
            json.StartObject();
            json.String("name", change.Name);
            json.String("action", EnumText.Of(change.Kind));
            json.String("image", change.Image);
            if (change.Detail is not null)
            {
                json.String("detail", change.Detail);
            }

            json.EndObject();
        }

        json.EndArray();
    }

    private static void Write(
        string done, IReadOnlyList<BitmapChange> changes, IReadOnlyList<BitmapVerdict> verdicts, bool asJson, ToolWriter output,
        Action<QemuJsonWriter> writeMore)
    {
        if (asJson)
        {
            var json = new QemuJsonWriter(output);
            json.StartObject();
            WriteMembers(changes, json);
            WriteVerdicts(verdicts, json);
            writeMore(json);
            json.EndObject();
            json.Complete();
            return;
        }

        foreach (BitmapChange change in changes)
        {
            output.WriteLine(change.ToString());
        }

        output.WriteLine(done);
        foreach (BitmapVerdict verdict in verdicts)
        {
            VerdictText.Write(verdict, output);
        }
    }

    /// <summary>Writes the verdicts of those bitmaps that need help.</summary>
    private static void WriteVerdicts(IReadOnlyList<BitmapVerdict> verdicts, QemuJsonWriter json)
    {
        json.StartArray("verdicts");
        foreach (BitmapVerdict verdict in verdicts.Where(static verdict => verdict.Remedy is not null))
        {
            json.StartObject();
            json.String("name", verdict.Name);
            json.Boolean("valid", verdict.IsValid);
            VerdictText.WriteMembers(verdict, json);
            json.EndObject();
        }

        json.EndArray();
    }
}
