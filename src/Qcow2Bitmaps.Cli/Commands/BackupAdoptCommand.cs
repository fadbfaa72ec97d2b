using System.CommandLine;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Backups.Adoption;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Cli.Output;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>backup adopt</c>.</summary>
internal static class BackupAdoptCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var images = new Argument<string[]>("IMAGE")
        {
            Description = "The backups, oldest first: a full one, then what changed since the one before each. All in one folder",
            Arity = ArgumentArity.OneOrMore,
        };
        var disk = new Option<string>("--disk")
        {
            Description = "The disk that they are backups of: the top image of its chain",
            HelpName = "TOP",
            Required = true,
        };
        var checkpoint = new Option<string>("--checkpoint")
        {
            Description = "The bitmap of the disk that records since the last backup's point",
            HelpName = "NAME",
            Required = true,
        };
        var trust = new Option<bool>("--trust")
        {
            Arity = ArgumentArity.Zero,
            Description = "Do not compare the backups with the disk: you vouch for them, and the manifests say so",
        };
        Option<string?> firstFormat = CommonOptions.Format("the first backup; the others are qcow2", "-F", "--image-format");
        Option<string?> format = CommonOptions.Format("the disk's top image");
        Option<string[]> allowBacking = CommonOptions.AllowBacking();
        Option<OutputFormat> form = CommonOptions.Output();
        var progress = new BackupProgressLine(output);
        var command = new Command(
            "adopt",
            """
            Give manifests to backups that QEMU, libvirt (push mode) or a copying program made, so that incremental backups can
            be built on them, and that they can be verified and restored. The images are only read.

            Laid over one another, they have to be as the disk is wherever the bitmap calls it clean; the backing files that
            they name, their sizes and the times when they were written have to bear out their order.
            Exit codes: 0 success; 1 error, a wrong order, or a difference, and nothing was done; 2 the bitmap is not
            valid over the disk's chain, and nothing was done.
            """)
        {
            disk, checkpoint, trust, firstFormat, format, form, allowBacking,
        };
        progress.AddTo(command);
        command.Add(images);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var options = new BackupAdoptOptions
            {
                Checkpoint = parsed.GetRequiredValue(checkpoint),
                Chain = new ChainOpenOptions { TopFormat = parsed.GetValue(format), AllowedFolders = parsed.GetValue(allowBacking) ?? [] },
                FirstFormat = parsed.GetValue(firstFormat),
                IsTrusted = parsed.GetValue(trust),
            };
            if (options.FindFault() is { } fault)
            {
                messages.Error(fault);
                return ExitCode.Error;
            }

            bool isJson = parsed.GetValue(form) == OutputFormat.Json;
            AdoptionResult result;
            using var stop = new StopSignals(cancellationToken);
            try
            {
                result = await progress.RunAsync(
                    parsed, isJson,
                    steps => BackupAdoption.RunAsync(
                        parsed.GetRequiredValue(images), parsed.GetRequiredValue(disk), options, steps, stop.Token));
            }
            catch (BitmapStateException e)
            {
                messages.Error($"{e}");
                return ExitCode.Invalid;
            }

            if (isJson)
            {
                WriteJson(result, output);
            }
            else
            {
                WriteText(result, options.Checkpoint, output);
            }

            return ExitCode.Success;
        });
        return command;
    }

    private static void WriteText(AdoptionResult result, string checkpoint, ToolWriter output)
    {
        foreach ((StoredBackup backup, bool isNew) in result.Backups)
        {
            BackupManifest manifest = backup.Manifest;
            string on = manifest.IsFull ? "" : $" on {manifest.Parents[0].Manifest}";
            output.WriteMessage(
                $"{manifest.ImageFile}: {(isNew ? "adopted as" : "is already")} {(manifest.IsFull ? "a full" : "an incremental")} "
                + $"backup{on}, "
                + $"{manifest.DataBytes} bytes of data, {manifest.ZeroBytes} of zeros");
        }

        output.WriteMessage(result.ComparedBytes is { } bytes
            ? $"The disk agrees outside what bitmap '{checkpoint}' calls dirty: {bytes} bytes compared"
            : "The disk was not compared");
    }

    private static void WriteJson(AdoptionResult result, ToolWriter output)
    {
        var json = new QemuJsonWriter(output);
        json.StartObject();
        if (result.ComparedBytes is { } bytes)
        {
            json.Number("compared", bytes);
        }

        json.StartArray("backups");
        foreach ((StoredBackup backup, bool isNew) in result.Backups)
        {
            json.StartObject();
            BackupOutput.WriteMembers(backup.ManifestPath, backup.Manifest, json);
            json.Number("data", backup.Manifest.DataBytes);
            json.Number("zero", backup.Manifest.ZeroBytes);
            json.Boolean("new", isNew);
            json.EndObject();
        }

        json.EndArray();
        json.EndObject();
        json.Complete();
    }
}
