using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain reconcile</c>: compares the bitmaps with the expected ones.</summary>
internal static class ChainReconcileCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The top image");
        Option<string[]> expect = CommonOptions.Repeatable(
            "--expect", "A bitmap that should exist. Repeatable; without it no bitmap should exist", "NAME");
        Option<bool> drop = CommonOptions.Flag("--drop", "Remove surplus and unusable bitmaps from all images");
        var command = new Command(
            "reconcile",
            """
            Compare the bitmaps of a chain with those that are expected

            Lists which bitmaps are valid, missing, unusable and surplus.

            Exit codes: 0 the expected bitmaps are valid, and there are no others (with
            --drop: no others are left); 1 error; 2 otherwise.
            """)
        {
            expect, drop,
        };
        options.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            ChainOpenOptions open = options.Read(parsed);
            string top = parsed.GetRequiredValue(options.Top);
            Reconciliation found;
            await using (ImageChain look = await ImageChain.OpenAsync(top, open, cancellationToken))
            {
                messages.WarnOf(look);
                await messages.WarnOfTruncationAsync(look, withDataFiles: false, cancellationToken);
                found = Reconciliation.Of(
                    parsed.GetValue(expect) ?? [], await look.JudgeBitmapsAsync(cancellationToken: cancellationToken));
            }

            IReadOnlyList<BitmapChange> dropped = [];
            string[] useless = [.. found.ToDrop];
            if (parsed.GetValue(drop) && useless.Length > 0)
            {
                await using ChainBitmaps removal = await ChainBitmaps.OpenAsync(top, useless, open, cancellationToken);
                dropped = (await removal.RunAsync(cancellationToken: cancellationToken)).Bitmaps;
            }

            Write(found, dropped, options.IsJson(parsed), output);
            return found.Missing.Count == 0 && found.Unusable.Count == 0 && (found.Surplus.Count == 0 || parsed.GetValue(drop))
                ? ExitCode.Success
                : ExitCode.Invalid;
        });
        return command;
    }

    private static void Write(Reconciliation found, IReadOnlyList<BitmapChange> dropped, bool asJson, ToolWriter output)
    {
        if (asJson)
        {
            var json = new QemuJsonWriter(output);
            json.StartObject();
            WriteNames(json, "valid", found.Valid);
            WriteNames(json, "missing", found.Missing);
            json.StartArray("unusable");
            foreach (BitmapVerdict verdict in found.Unusable)
            {
                json.StartObject();
                json.String("name", verdict.Name);
                VerdictText.WriteMembers(verdict, json);
                json.EndObject();
            }

            json.EndArray();
            WriteNames(json, "surplus", found.Surplus);
            ChangeOutput.WriteMembers(dropped, json);
            json.EndObject();
            json.Complete();
            return;
        }

        WriteLines(output, "valid", found.Valid);
        WriteLines(output, "missing", found.Missing);
        foreach (BitmapVerdict verdict in found.Unusable)
        {
            output.WriteMessage(
                $"unusable: {verdict.Name} ({EnumText.Of(verdict.Reason!.Value)}): {verdict.Detail}; remedy: {RemedyText.Of(verdict)}");
        }

        WriteLines(output, "surplus", found.Surplus);
        foreach (BitmapChange change in dropped)
        {
            output.WriteLine(change.ToString());
        }
    }

    private static void WriteNames(QemuJsonWriter json, string member, IReadOnlyList<string> names)
    {
        json.StartArray(member);
        foreach (string name in names)
        {
            json.String(null, name);
        }

        json.EndArray();
    }

    private static void WriteLines(ToolWriter output, string what, IReadOnlyList<string> names)
    {
        foreach (string name in names)
        {
            output.WriteMessage($"{what}: {name}");
        }
    }
}
