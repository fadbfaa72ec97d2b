using System.CommandLine;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Cli.Output;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>backup restore</c>.</summary>
internal static class BackupRestoreCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        Argument<string> manifest = CommonOptions.File("MANIFEST", "The backup: its manifest or its image");
        Argument<string> target = CommonOptions.File("TARGET", "The disk to create: a new file, or a block device");
        Option<string?> to = CommonOptions.Value(
            "--to", "The point in time: a checkpoint of the backup, or of one that it is based on", "CHECKPOINT");
        Option<string?> format = CommonOptions.Format("TARGET (default qcow2)", "-O", "--target-format");
        Option<OutputFormat> form = CommonOptions.Output();
        var progress = new BackupProgressLine(output);
        var command = new Command(
            "restore",
            """
            Restore a disk from a full backup and those that follow it

            Every backup is compared with its checksums while it is written. The name of
            the disk ends with .partial until the disk is complete.
            """)
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
                steps => DiskBackup.RestoreAsync(
                    parsed.GetRequiredValue(manifest), path, parsed.GetValue(format) is ImageFormat.Raw, parsed.GetValue(to), steps,
                    stop.Token));
            if (isJson)
            {
                var json = new QemuJsonWriter(output);
                json.StartObject();
                json.String("target", path);
                BackupOutput.WriteMembers(restored, json);
                json.EndObject();
                json.Complete();
            }
            else
            {
                BackupOutput.WarnOfMissing(restored.ImagePath, restored.Manifest, messages);
                string how = restored.Manifest.Missing is null ? "verified" : "as it was backed up, which was incomplete";
                output.WriteMessage($"{path}: restored from {Path.GetFileName(restored.ImagePath)}, {how}.");
            }

            return ExitCode.Success;
        });
        return command;
    }
}
