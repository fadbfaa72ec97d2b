using System.CommandLine;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Cli.Output;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>backup list</c>.</summary>
internal static class BackupListCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        Argument<string> folder = CommonOptions.File("FOLDER", "The folder of the backups");
        Option<OutputFormat> form = CommonOptions.Output();
        var command = new Command(
            "list",
            """
            List the backups in a folder

            Shows the backup that each one is based on, the checkpoints that started with
            it, and whether it can be restored, as far as that is known without reading
            images.

            Exit codes: 0 all can be restored; 1 one cannot, or an error.
            """)
        {
            form, folder,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            IReadOnlyList<StoredBackup> backups = await DiskBackup.ListAsync(parsed.GetRequiredValue(folder), cancellationToken);
            if (parsed.GetValue(form) == OutputFormat.Json)
            {
                WriteJson(backups, output);
            }
            else
            {
                WriteText(backups, output, messages);
            }

            return backups.All(static backup => backup.Fault is null) ? ExitCode.Success : ExitCode.Error;
        });
        return command;
    }

    private static void WriteText(IReadOnlyList<StoredBackup> backups, ToolWriter output, MessageWriter messages)
    {
        foreach (StoredBackup backup in backups)
        {
            if (backup.IsReadable)
            {
                BackupManifest manifest = backup.Manifest;
                output.WriteMessage(
                    $"{manifest.Created:yyyy-MM-dd HH:mm:ss}  {BackupOutput.KindOf(manifest),-11}  "
                    + $"{BackupOutput.WordOf(manifest.State),-9}  "
                    + $"{Path.GetFileName(backup.ManifestPath)}"
                    + $"{(manifest.Missing is null ? "" : "  of an incomplete disk")}"
                    + $"{(manifest.IsFull ? "" : $"  on {manifest.BasedOn}")}"
                    + $"{(manifest.Checkpoint is null ? "" : $"  checkpoint {manifest.Checkpoint}")}"
                    + $"{(manifest.Origin == BackupOrigin.Taken ? "" : $"  {BackupOutput.WordOf(manifest.Origin)}")}");
                BackupOutput.WarnOfMissing(backup.ManifestPath, manifest, messages);
            }

            if (backup.Fault is not null)
            {
                messages.Warn($"'{backup.ManifestPath}': {backup.Fault}");
            }
        }
    }

    private static void WriteJson(IReadOnlyList<StoredBackup> backups, ToolWriter output)
    {
        var json = new QemuJsonWriter(output);
        json.StartArray();
        foreach (StoredBackup backup in backups)
        {
            json.StartObject();
            if (backup.IsReadable)
            {
                BackupOutput.WriteMembers(backup, json);
            }
            else
            {
                json.String("manifest", backup.ManifestPath);
            }

            if (backup.Fault is not null)
            {
                json.String("fault", backup.Fault);
            }

            json.EndObject();
        }

        json.EndArray();
        json.Complete();
    }
}
