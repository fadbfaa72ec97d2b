using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Numerics;
using Qcow2Bitmaps.Cli.Options;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>bitmap</c>: qemu-img's verb, all steps or none.</summary>
internal static class BitmapCommand
{
    private const string Add = "--add";
    private const string Remove = "--remove";
    private const string Clear = "--clear";
    private const string Enable = "--enable";
    private const string Disable = "--disable";
    private const string Merge = "--merge";
    private const string Rename = "--rename";
    private const string RemoveAll = "--remove-all";
    private const string Recover = "--recover";
    private const int MaxNameBytes = 1023;
    private const long MaxGranularityBytes = 2L << 30;

    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        Option<string?> source = CommonOptions.Value("-b", "The image whose bitmaps --merge reads. Default: FILE", "FILE", "--source-file");
        Option<string?> sourceFormat = CommonOptions.Format("the source file", "-F", "--source-format");
        Option<string?> granularity = CommonOptions.Value(
            "-g", "With --add: bytes per bit, a power of two from 512 to 2G. Default: the cluster size, within 4k to 64k", "SIZE",
            "--granularity");
        Option<string?> format = CommonOptions.Format("the image");
        Option<OutputFormat> form = CommonOptions.Output();
        Option<bool> recover = CommonOptions.Flag(
            Recover, "Finish or discard an interrupted edit of several images: FILE has the journal beside it, the others follow");
        var discard = new Option<DiscardMode>("--discard")
        {
            Description = "'unmap' (default) returns the space of freed clusters to the file system; 'ignore' keeps it",
            HelpName = "ignore|unmap",
        };
        Argument<string[]> names = new("FILE NAME")
        {
            Description = "The image and the bitmap (not needed with --remove-all alone)",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var command = new Command(
            "bitmap",
            """
            Change persistent bitmaps of an image

            The options are qemu-img's, and are carried out in their order: all or none
            of them. Needs no key, data file or backing file.

            Exit codes: 0 success; 1 error, and nothing was changed.
            """)
        {
            CommonOptions.Flag(Add, "Add a recording bitmap"),
            CommonOptions.Flag(Remove, "Remove the bitmap, even if it is inconsistent"),
            CommonOptions.Flag(Clear, "Clear all bits"),
            CommonOptions.Flag(Enable, "Enable recording"),
            CommonOptions.Flag(Disable, "Disable recording"),
            CommonOptions.Repeatable(Merge, "Merge the bits of bitmap SOURCE", "SOURCE"),
            CommonOptions.Repeatable(Rename, "Rename the bitmap; later steps work on the new name", "NEW"),
            CommonOptions.Flag(RemoveAll, "Remove all bitmaps of the image"),
            recover, source, sourceFormat, granularity, discard, format, form, names,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            List<(string Step, string Value)> steps = StepsOf(parsed);
            string[] arguments = parsed.GetValue(names) ?? [];
            if (parsed.GetValue(recover))
            {
                if (steps.Count > 0 || arguments.Length == 0)
                {
                    messages.Error("--recover takes the images of the interrupted edit and no other step");
                    return ExitCode.Error;
                }

                await RecoverAsync(arguments, output, cancellationToken);
                return ExitCode.Success;
            }

            if (UsageError(
                steps, arguments, parsed.GetValue(granularity) is not null, parsed.GetValue(source) is not null,
                parsed.GetValue(sourceFormat) is not null) is { } usage)
            {
                messages.Error(usage);
                return ExitCode.Error;
            }

            if (SizeArgument.Read(parsed, granularity, "granularity", out long? granularityBytes) is { } error)
            {
                messages.Error(error);
                return ExitCode.Error;
            }

            string path = arguments[0];
            string name = arguments.ElementAtOrDefault(1) ?? "";
            await using Qcow2Image? image = await OpenAsync(
                path, parsed.GetValue(format), FileAccess.ReadWrite, parsed.GetValue(discard), cancellationToken);
            await using Qcow2Image? other = parsed.GetValue(source) is { } sourcePath
                ? await OpenAsync(sourcePath, parsed.GetValue(sourceFormat), FileAccess.Read, default, cancellationToken)
                : null;
            if (image is not null)
            {
                messages.Warn(path, image.Findings);
                await messages.WarnOfTruncationAsync(image, isWritten: true, trustsCounts: true, cancellationToken);
            }

            (BitmapEdit edit, string? refusal) = image is null
                ? (new BitmapEdit(), RefuseRaw(steps[0].Step, name, path))
                : Build(steps, name, granularityBytes ?? 0, image, parsed.GetValue(source) is not null, other);
            if (refusal is not null)
            {
                messages.Error(refusal);
                return ExitCode.Error;
            }

            try
            {
                await image!.Bitmaps.EditAsync(edit, cancellationToken);
            }
            catch (BitmapStateException e)
            {
                messages.Error(Failed(e.Operation ?? "merge", name, e.Message));
                return ExitCode.Error;
            }
            catch (Qcow2UnsupportedException e) when (e.Id is "bitmaps-in-version2")
            {
                messages.Error(Failed("add", name, e.Message));
                return ExitCode.Error;
            }

            if (parsed.GetValue(form) == OutputFormat.Json)
            {
                WriteJson(image, path, output);
            }

            return ExitCode.Success;
        });
        return command;
    }

    /// <summary>Finishes an interrupted edit of several images.</summary>
    private static async Task RecoverAsync(string[] paths, ToolWriter output, CancellationToken cancellationToken)
    {
        var images = new List<Qcow2Image>();
        try
        {
            foreach (string path in paths)
            {
                images.Add(await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: cancellationToken));
            }

            EditRecovery outcome = await BitmapEditSet.RecoverAsync(BitmapEditSet.JournalPathOf(paths[0]), images, cancellationToken);
            output.WriteLine(outcome switch
            {
                EditRecovery.Finished => "The edit was finished.",
                EditRecovery.RolledBack => "The edit had not begun to take effect.",
                _ => "No edit was interrupted.",
            });
        }
        finally
        {
            foreach (Qcow2Image image in images)
            {
                await image.DisposeAsync();
            }
        }
    }

    /// <summary>The steps in the order of the command line, each with its value.</summary>
    private static List<(string Step, string Value)> StepsOf(ParseResult parsed)
    {
        var steps = new List<(string, string)>();
        for (int i = 0; i < parsed.Tokens.Count && parsed.Tokens[i].Type != TokenType.DoubleDash; i++)
        {
            Token token = parsed.Tokens[i];
            if (token.Type == TokenType.Option
                && token.Value is Add or Remove or Clear or Enable or Disable or RemoveAll or Merge or Rename)
            {
                steps.Add((token.Value, token.Value is Merge or Rename ? parsed.Tokens[++i].Value : ""));
            }
            else if (token.Type == TokenType.Option && token.Value is not Recover)
            {
                // Every other option has a value, which may be any text.
                i++;
            }
        }

        return steps;
    }

    private static string? UsageError(
        List<(string Step, string Value)> steps, string[] arguments, bool hasGranularity, bool hasSource, bool hasSourceFormat) =>
        steps.Count == 0 ? "Need at least one of --add, --remove, --clear, --enable, --disable, --merge, --rename, or --remove-all"
        : hasGranularity && !Has(steps, Add) ? "granularity only supported with --add"
        : hasSourceFormat && !hasSource ? "-F only supported with -b"
        : hasSource && !Has(steps, Merge) ? "Merge bitmap source file only supported with --merge"
        : arguments.Length != 2 && !(arguments.Length == 1 && steps.TrueForAll(static step => step.Step is RemoveAll))
            ? "Expecting filename and bitmap name"
        : null;

    private static bool Has(List<(string Step, string Value)> steps, string step) =>
        steps.Exists(other => string.Equals(other.Step, step, StringComparison.Ordinal));

    /// <summary>Opens an image; null when it is raw, which has no bitmaps.</summary>
    private static async Task<Qcow2Image?> OpenAsync(
        string path, string? format, FileAccess access, DiscardMode discard, CancellationToken cancellationToken)
    {
        var storage = ImageStorage.OpenFile(
            path, access, access == FileAccess.ReadWrite ? ImageLock.Write : ImageLock.Read, discard == DiscardMode.Ignore);
        bool isQcow2;
        try
        {
            string found = format ?? await ImageFormat.ProbeAsync(storage, cancellationToken);
            isQcow2 = found switch
            {
                ImageFormat.Qcow2 => true,
                ImageFormat.Raw => false,
                _ => throw IOException.Of(
                    $"'{path}' is of format {found}, which has no bitmaps here; the formats are qcow2 and raw"),
            };
        }
        catch
        {
            await storage.DisposeAsync();
            throw;
        }

        if (isQcow2)
        {
            return await Qcow2Image.OpenAsync(storage, cancellationToken: cancellationToken);
        }

        await storage.DisposeAsync();
        return null;
    }

    /// <summary>Builds the edit.</summary>
    /// <returns>The edit, and why a step cannot be taken, where that shows without looking at the bitmaps.</returns>
    private static (BitmapEdit Edit, string? Refusal) Build(
        List<(string Step, string Value)> steps, string name, long granularityBytes, Qcow2Image image, bool hasSource, Qcow2Image? source)
    {
        var edit = new BitmapEdit();
        foreach ((string step, string value) in steps)
        {
            string? refusal = step switch
            {
                Add => AddTo(edit, image, name, granularityBytes),
                Remove => Done(edit.Remove(name)),
                Clear => Done(edit.Clear(name)),
                Enable => Done(edit.Enable(name)),
                Disable => Done(edit.Disable(name)),
                RemoveAll => Done(edit.RemoveAll()),
                Merge when hasSource && source is null => PrintableMessage.Of($"Dirty bitmap '{value}' not found"),
                Merge when hasSource => Done(edit.Merge(source!, value, into: name, requireSameSize: true)),
                Merge => Done(edit.Merge(value, into: name)),
                _ => RenameTo(edit, ref name, value),
            };
            if (refusal is not null)
            {
                return (edit, Failed(step[2..], name, refusal));
            }
        }

        return (edit, null);
    }

    private static string RefuseRaw(string step, string name, string path) => Failed(step[2..], name, step is Add
        ? PrintableMessage.Of($"Can't store persistent bitmaps to '{path}': Operation not supported")
        : PrintableMessage.Of($"Dirty bitmap '{name}' not found"));

    private static string? AddTo(BitmapEdit edit, Qcow2Image image, string name, long granularityBytes)
    {
        if (BitmapEdit.FindNameFault(name) is { } fault)
        {
            return ImageText.Encode(name).Length <= MaxNameBytes
                ? fault
                : CannotPersist(image, name, $"Name length exceeds maximum ({MaxNameBytes} characters)");
        }

        if (granularityBytes != 0
            && (granularityBytes < 512 || !BitOperations.IsPow2(granularityBytes) || granularityBytes > uint.MaxValue))
        {
            return "Granularity must be power of 2 and at least 512";
        }

        if (granularityBytes > MaxGranularityBytes)
        {
            return CannotPersist(
                image, name,
                string.Create(CultureInfo.InvariantCulture, $"Granularity exceeds maximum ({MaxGranularityBytes} bytes)"));
        }

        return Done(edit.Add(name, granularityBytes == 0 ? null : granularityBytes));
    }

    private static string CannotPersist(Qcow2Image image, string name, string why) =>
        PrintableMessage.Of($"Can't make bitmap '{name}' persistent in '{image.Name}': {why}");

    private static string? RenameTo(BitmapEdit edit, ref string name, string newName)
    {
        if (BitmapEdit.FindNameFault(newName) is { } fault)
        {
            return fault;
        }

        edit.Rename(name, newName);
        name = newName;
        return null;
    }

    private static string? Done(BitmapEdit edit)
    {
        _ = edit;
        return null;
    }

    private static string Failed(string operation, string name, string why) =>
        PrintableMessage.Of($"Operation {operation} on bitmap {name} failed: ") + why;

    private static void WriteJson(Qcow2Image image, string path, ToolWriter output)
    {
        var json = new QemuJsonWriter(output);
        json.StartObject();
        json.String("filename", path);
        json.StartArray("bitmaps");
        foreach (BitmapInfo bitmap in image.Bitmaps)
        {
            json.StartObject();
            json.StartArray("flags");
            foreach (string flag in FormatSpecificInfo.Flags(bitmap.Flags))
            {
                json.String(null, flag);
            }

            json.EndArray();
            json.String("name", bitmap.Name);
            json.Number("granularity", bitmap.GranularityBytes);
            json.EndObject();
        }

        json.EndArray();
        json.EndObject();
        json.Complete();
    }
}
