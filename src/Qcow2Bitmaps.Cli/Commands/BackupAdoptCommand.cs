using System.CommandLine;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Cli.Output;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>backup adopt</c>.</summary>
internal static class BackupAdoptCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var images = new Argument<string[]>("IMAGE")
        {
            Description = "The backups in one folder, oldest first: a full backup, then the incremental ones",
            Arity = ArgumentArity.OneOrMore,
        };
        var disk = new Option<string>("--disk")
        {
            Description = "The top image of the disk that was backed up",
            HelpName = "TOP",
            Required = true,
        };
        var checkpoint = new Option<string>("--checkpoint")
        {
            Description = "The bitmap of the disk that records since the last backup",
            HelpName = "NAME",
            Required = true,
        };
        Option<bool> trust = CommonOptions.Flag("--trust", "Do not compare the backups with the disk. The manifests say so");
        Option<string?> firstFormat = CommonOptions.Format("the first backup (the others are qcow2)", "-F", "--image-format");
        Option<string?> format = CommonOptions.Format("the disk's top image");
        Option<string[]> allowBacking = CommonOptions.AllowBacking();
        Option<OutputFormat> form = CommonOptions.Output();
        var progress = new BackupProgressLine(output);
        var command = new Command(
            "adopt",
            """
            Make manifests for backups that other programs made

            The backups come from QEMU, from libvirt (push mode), or from a program that
            copies them. With manifests they can be verified, restored, and used as the
            base of incremental backups. The images are only read.

            Written over one another, the backups must equal the disk wherever the bitmap
            is clean. Their backing files, sizes and modification times must agree with
            their order.

            Exit codes: 0 success; 1 error, wrong order or a difference; 2 the bitmap is
            not valid over the chain of the disk. After 1 and 2 nothing was changed.
            """)
        {
            disk, checkpoint, trust, firstFormat, format, form, allowBacking,
        };
        progress.AddTo(command);
        command.Add(images);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var options = new AdoptionOptions
            {
                Checkpoint = parsed.GetRequiredValue(checkpoint),
                Chain = new ChainOpenOptions { TopFormat = parsed.GetValue(format), AllowedFolders = parsed.GetValue(allowBacking) ?? [] },
                FirstFormat = parsed.GetValue(firstFormat),
                IsTrusted = parsed.GetValue(trust),
            };
            bool isJson = parsed.GetValue(form) == OutputFormat.Json;
            AdoptionResult result;
            using var stop = new StopSignals(cancellationToken);
            try
            {
                result = await progress.RunAsync(
                    parsed, isJson,
                    steps => DiskBackup.AdoptAsync(
                        parsed.GetRequiredValue(images), parsed.GetRequiredValue(disk), options, steps, stop.Token));
            }
            catch (BitmapStateException e)
            {
                messages.Error(RemedyText.Describe(e));
                return ExitCode.Invalid;
            }
            catch (BackupException e) when (e.Remedy == Remedy.VerifyBackup)
            {
                messages.Error($"{e}: only a comparison, without --trust, tells which is so");
                return ExitCode.Error;
            }
            catch (ArgumentException e) when (e.ParamName is nameof(options))
            {
                return messages.WrongArgument(e);
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
        for (int i = 0; i < result.Backups.Count; i++)
        {
            BackupManifest manifest = result.Backups[i].Manifest;
            output.WriteMessage(
                $"{Path.GetFileName(result.Backups[i].ImagePath)}: {(i < result.KnownCount ? "is already" : "adopted as")} "
                + $"{(manifest.IsFull ? "a full" : "an incremental")} backup{(manifest.IsFull ? "" : $" on {manifest.BasedOn}")}, "
                + $"{manifest.DataBytes} bytes of data, {manifest.ZeroBytes} of zeros");
        }

        output.WriteMessage(result.ComparedBytes is { } bytes
            ? $"The disk equals the backup, except where bitmap '{checkpoint}' is dirty: {bytes} bytes compared"
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
        for (int i = 0; i < result.Backups.Count; i++)
        {
            json.StartObject();
            BackupOutput.WriteMembers(result.Backups[i], json);
            json.Number("data", result.Backups[i].Manifest.DataBytes);
            json.Number("zero", result.Backups[i].Manifest.ZeroBytes);
            json.Boolean("new", i >= result.KnownCount);
            json.EndObject();
        }

        json.EndArray();
        json.EndObject();
        json.Complete();
    }
}
