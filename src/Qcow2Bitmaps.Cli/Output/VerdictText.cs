namespace Qcow2Bitmaps.Cli.Output;

/// <summary>The text about a bitmap that is not valid, or by which QEMU cannot back up: the same everywhere.</summary>
internal static class VerdictText
{
    /// <summary>Writes two lines: what was found, and the remedy. Writes nothing if no remedy is needed.</summary>
    public static void Write(BitmapVerdict verdict, ToolWriter output)
    {
        if (RemedyText.Of(verdict) is not { } advice)
        {
            return;
        }

        output.WriteMessage($"\n{verdict.Name}: {(verdict.IsValid ? "valid, but " : "")}{verdict.Detail}.");
        output.WriteLine($"remedy: {advice}.");
    }

    /// <summary>Writes the members of a verdict.</summary>
    public static void WriteMembers(BitmapVerdict verdict, QemuJsonWriter json)
    {
        if (verdict is { Reason: { } reason, ImageIndex: { } image })
        {
            json.String("reason", EnumText.Of(reason));
            json.Number("image", image);
        }

        if (verdict.SizesDiffer)
        {
            json.Boolean("sizes-differ", true);
        }

        if (verdict is { Detail: { } detail, Remedy: { } remedy } && RemedyText.Of(verdict) is { } advice)
        {
            json.String("detail", detail);
            json.String("remedy", EnumText.Of(remedy));
            json.String("advice", advice);
        }
    }
}
