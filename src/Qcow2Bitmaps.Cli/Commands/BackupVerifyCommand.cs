using System.CommandLine;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Cli.Output;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>backup verify</c>.</summary>
internal static class BackupVerifyCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        Argument<string> manifest = CommonOptions.File("MANIFEST", "The backup: its manifest or its image");
        Option<string?> disk = CommonOptions.Value(
            "--disk", "Also compare with this disk (its top image), except what has changed since", "TOP");
        Option<string?> since = CommonOptions.Value(
            "--since", "With --disk: the bitmap that marks what has changed since. Default: the backup's own", "NAME");
        Option<string?> format = CommonOptions.Format("the disk's top image");
        Option<string[]> allowBacking = CommonOptions.AllowBacking();
        Option<OutputFormat> form = CommonOptions.Output();
        var progress = new BackupProgressLine(output);
        var command = new Command(
            "verify",
            """
            Verify a backup, and those that it is based on

            Compares the images with the checksums of the manifests. With --disk it also
            compares with the disk, except where the bitmap is dirty. If a backup was
            interrupted before its checkpoint was known to record (state 'anchoring'), it
            becomes complete when the disk agrees.

            Exit codes: 0 everything agrees; 1 error, damage or a difference.
            """)
        {
            disk, since, form, format, allowBacking,
        };
        progress.AddTo(command);
        command.Add(manifest);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            bool isJson = parsed.GetValue(form) == OutputFormat.Json;
            if (parsed.GetValue(since) is not null && parsed.GetValue(disk) is null)
            {
                messages.Error("--since requires --disk");
                return ExitCode.Error;
            }

            ImageChain? chain = parsed.GetValue(disk) is { } top
                ? await ImageChain.OpenAsync(
                    top, new ChainOpenOptions { TopFormat = parsed.GetValue(format), AllowedFolders = parsed.GetValue(allowBacking) ?? [] },
                    cancellationToken)
                : null;
            BackupCheck check;
            try
            {
                check = await progress.RunAsync(
                    parsed, isJson,
                    steps => DiskBackup.VerifyAsync(
                        parsed.GetRequiredValue(manifest), chain, parsed.GetValue(since), steps, cancellationToken));
            }
            finally
            {
                if (chain is not null)
                {
                    await chain.DisposeAsync();
                }
            }

            if (isJson)
            {
                WriteJson(check, output);
            }
            else
            {
                WriteText(check, output, messages);
            }

            return check.IsGood ? ExitCode.Success : ExitCode.Error;
        });
        return command;
    }

    private static void WriteText(BackupCheck check, ToolWriter output, MessageWriter messages)
    {
        foreach (StoredBackup backup in check.Backups)
        {
            BackupDamage[] damage = [.. check.Damage.Where(one => one.Backup == backup)];
            string state = damage.Length > 0 ? "damaged"
                : backup.Manifest.Missing is null ? "in order"
                : "as it was taken, of an incomplete disk";
            output.WriteMessage($"{Path.GetFileName(backup.ImagePath)}: {state}");
            BackupOutput.WarnOfMissing(backup.ImagePath, backup.Manifest, messages);
            foreach (BackupDamage one in damage)
            {
                output.WriteMessage($"  from byte {one.OffsetBytes} of the disk on: {one.Detail}");
            }
        }

        if (check.Bitmap is not null)
        {
            output.WriteMessage(check.FirstDifferenceOffsetBytes is { } at
                ? $"The disk differs at byte {at}, where bitmap '{check.Bitmap}' is clean"
                : $"The disk equals the backup, except where bitmap '{check.Bitmap}' is dirty: {check.ComparedBytes} bytes "
                    + $"compared{(check.IsConfirmed ? ". The backup is complete now" : "")}");
        }
    }

    private static void WriteJson(BackupCheck check, ToolWriter output)
    {
        var json = new QemuJsonWriter(output);
        json.StartObject();
        json.Boolean("good", check.IsGood);
        json.StartArray("backups");
        foreach (StoredBackup backup in check.Backups)
        {
            json.StartObject();
            json.String("manifest", backup.ManifestPath);
            json.String("id", backup.Manifest.Id);
            if (backup.Manifest.Missing is { } missing)
            {
                json.String("missing", missing);
            }

            json.StartArray("damage");
            foreach (BackupDamage one in check.Damage.Where(one => one.Backup == backup))
            {
                json.StartObject();
                json.Number("offset", one.OffsetBytes);
                json.String("detail", one.Detail);
                json.EndObject();
            }

            json.EndArray();
            json.EndObject();
        }

        json.EndArray();
        if (check.Bitmap is not null)
        {
            json.StartObject("disk");
            json.String("bitmap", check.Bitmap);
            json.Number("compared", check.ComparedBytes!.Value);
            if (check.FirstDifferenceOffsetBytes is { } at)
            {
                json.Number("difference", at);
            }

            json.Boolean("confirmed", check.IsConfirmed);
            json.EndObject();
        }

        json.EndObject();
        json.Complete();
    }
}
