using System.Text.Json;
using Qcow2Bitmaps.Backups;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Prints backups.</summary>
internal static class BackupOutput
{
    public static void WriteText(IReadOnlyList<StoredBackup> backups, ToolWriter output, MessageWriter messages)
    {
        foreach (StoredBackup backup in backups)
        {
            BackupManifest manifest = backup.Manifest;
            if (manifest.Verdict is not null)
            {
                string instead = manifest.Fallback == BackupFallback.Full
                    ? "a full backup was taken instead"
                    : "it was rebuilt from what is allocated";
                messages.Warn($"{manifest.Verdict}: {instead}");
            }

            WarnOfMissing(backup.ImagePath, manifest, messages);
            foreach (Operations.BitmapChange change in backup.BitmapChanges)
            {
                output.WriteLine(change.ToString());
            }

            output.WriteMessage(
                $"{backup.ImagePath}: {KindOf(manifest)} backup, {manifest.DataBytes} bytes of data, {manifest.ZeroBytes} of zeros");
        }
    }

    public static async Task WriteJsonAsync(
        IReadOnlyList<StoredBackup> backups, bool withExtents, ToolWriter output, CancellationToken cancellationToken)
    {
        var json = new QemuJsonWriter(output);
        json.StartArray();
        foreach (StoredBackup backup in backups)
        {
            json.StartObject();
            WriteMembers(backup, json);
            json.Number("data", backup.Manifest.DataBytes);
            json.Number("zero", backup.Manifest.ZeroBytes);
            ChangeOutput.WriteMembers(backup.BitmapChanges, json);
            if (withExtents)
            {
                await WriteExtentsAsync(backup, json, cancellationToken);
            }

            json.EndObject();
        }

        json.EndArray();
        json.Complete();
    }

    public static void WriteMembers(StoredBackup backup, QemuJsonWriter json)
    {
        BackupManifest manifest = backup.Manifest;
        json.String("manifest", backup.ManifestPath);
        json.String("image", Path.GetFileName(backup.ImagePath));
        json.String("image-format", manifest.ImageFormat);
        json.String("id", manifest.Id);
        json.String("kind", KindOf(manifest));
        json.String("state", WordOf(manifest.State));
        json.String("created", manifest.Created.UtcDateTime.ToString("O", System.Globalization.CultureInfo.InvariantCulture));
        json.Number("size", manifest.SizeBytes);
        WriteText(json, "parent", manifest.BasedOn);
        WriteText(json, "set", manifest.Set);
        WriteText(json, "bitmap", manifest.Bitmap);
        WriteText(json, "missing", manifest.Missing);
        WriteText(json, "checkpoint", manifest.Checkpoint);
        WriteText(json, "origin", manifest.Origin == BackupOrigin.Taken ? null : WordOf(manifest.Origin));
        json.StartArray("anchors");
        foreach (string anchor in manifest.Anchors)
        {
            json.String(null, anchor);
        }

        json.EndArray();
        if (manifest.DirtyBytes is { } dirty)
        {
            json.Number("dirty", dirty);
        }

        if (manifest.Fallback != BackupFallback.None)
        {
            json.String("fallback", WordOf(manifest.Fallback));
            WriteText(json, "verdict", manifest.Verdict);
        }
    }

    /// <summary>Warns that a part of the disk was missing when the backup was taken.</summary>
    public static void WarnOfMissing(string path, BackupManifest manifest, MessageWriter messages)
    {
        if (manifest.Missing is { } missing)
        {
            messages.Warn($"'{path}' has zeros in place of what the disk was missing when it was backed up: {missing}");
        }
    }

    public static string KindOf(BackupManifest manifest) => manifest.IsFull ? "full" : "incremental";

    /// <summary>A value as scripts read it, for example <c>adopted-compared</c>.</summary>
    public static string WordOf<T>(T value)
        where T : struct, Enum => JsonNamingPolicy.KebabCaseLower.ConvertName(value.ToString());

    private static void WriteText(QemuJsonWriter json, string member, string? value)
    {
        if (value is not null)
        {
            json.String(member, value);
        }
    }

    /// <summary>Streams the extents of the image itself; dirty zeros are a separate kind.</summary>
    private static async Task WriteExtentsAsync(StoredBackup backup, QemuJsonWriter json, CancellationToken cancellationToken)
    {
        json.StartArray("extents");
        await using (ImageChain image = await ImageChain.OpenAsync(
            backup.ImagePath, new ChainOpenOptions { TopFormat = backup.Manifest.ImageFormat, FollowBacking = false }, cancellationToken))
        {
            await foreach (DiskExtent extent in image.ListOwnAsync(0, cancellationToken))
            {
                if (extent.Kind != ExtentKind.Unallocated)
                {
                    json.StartObject();
                    json.Number("start", extent.OffsetBytes);
                    json.Number("length", extent.LengthBytes);
                    json.String("kind", extent.Kind == ExtentKind.Zero ? "dirty-zero" : "dirty-data");
                    json.EndObject();
                }
            }
        }

        json.EndArray();
    }
}
