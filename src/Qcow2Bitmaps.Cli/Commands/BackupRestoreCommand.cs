using System.CommandLine;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Images;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>backup restore</c>.</summary>
internal static class BackupRestoreCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        Argument<string> manifest = CommonOptions.File("MANIFEST", "The backup: its manifest or its image");
        Argument<string> target = CommonOptions.File("TARGET", "The disk to make: a file that is not there yet, or a block device");
        var to = new Option<string?>("--to")
        {
            Description = "The point in time: a checkpoint that started with the backup, or with one that it stands on",
            HelpName = "CHECKPOINT",
        };
        Option<string?> format = CommonOptions.Format("TARGET (default qcow2)", "-O", "--target-format");
        Option<OutputFormat> form = CommonOptions.Output();
        var progress = new BackupProgressLine(output);
        var command = new Command(
            "restore",
            "Make a disk as it was at a backup's point, from the full backup and all that follow it. Each is compared with its checksums "
            + "while it is written. Until the disk is whole its name ends with .partial.")
        {
            to, format, form,
        };
        progress.AddTo(command);
        command.Add(manifest);
        command.Add(target);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            bool isJson = parsed.GetValue(form) == OutputFormat.Json;
            string path = parsed.GetRequiredValue(target);
            using var stop = new StopSignals(cancellationToken);
            StoredBackup restored = await progress.RunAsync(
                parsed,
                isJson,
                steps => BackupRestore.RunAsync(
                    parsed.GetRequiredValue(manifest), path, parsed.GetValue(format) is not ImageFormat.Raw, parsed.GetValue(to),
                    progress: steps, cancellationToken: stop.Token));
            if (isJson)
            {
                var json = new QemuJsonWriter(output);
                json.StartObject();
                json.String("target", path);
                BackupOutput.WriteMembers(restored.ManifestPath, restored.Manifest, json);
                json.EndObject();
                json.Complete();
            }
            else
            {
                BackupOutput.WarnOfMissing(restored.ImagePath, restored.Manifest, messages);
                string how = restored.Manifest.Missing is null ? "verified" : "as it was backed up, which was not whole";
                output.WriteMessage($"{path}: restored from {Path.GetFileName(restored.ImagePath)}, {how}.");
            }

            return ExitCode.Success;
        });
        return command;
    }
}
