using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Prints what an operation on a chain did to each bitmap.</summary>
internal static class ChangeOutput
{
    public static void Write(string done, IReadOnlyList<BitmapChange> changes, bool asJson, ToolWriter output)
    {
        if (asJson)
        {
            var json = new QemuJsonWriter(output);
            json.StartObject();
            WriteMembers(changes, json);
            json.EndObject();
            json.Complete();
            return;
        }

        foreach (BitmapChange change in changes)
        {
            output.WriteLine(change.ToString());
        }

        output.WriteLine(done);
    }

    public static void WriteMembers(IReadOnlyList<BitmapChange> changes, QemuJsonWriter json)
    {
        json.StartArray("bitmaps");
        foreach (BitmapChange change in changes)
        {
            json.StartObject();
            json.String("name", change.Name);
            json.String("action", change.KindId);
            json.String("image", change.Image);
            if (change.Detail is not null)
            {
                json.String("detail", change.Detail);
            }

            json.EndObject();
        }

        json.EndArray();
    }
}
