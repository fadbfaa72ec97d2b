using Qcow2Bitmaps;
using Qcow2Bitmaps.Backups;

// NightlyBackup FOLDER CHECKPOINT TOP…: backs up the disks of a machine that is shut down, all at one point in time. The first run takes
// full backups, later ones what changed since the last checkpoint. If a disk's record of changes is lost, it is rebuilt from allocation if
// possible; otherwise the whole disk is copied, as is one that was added since. Exit code 0 if everything is backed up and verified, or 1.
if (args.Length < 3)
{
    await Console.Error.WriteLineAsync("usage: NightlyBackup FOLDER CHECKPOINT TOP...");
    return 1;
}

(string folder, string checkpoint, string[] tops) = (args[0], args[1], args[2..]);
try
{
    // 1. Find the newest backup whose checkpoint records: tonight's is based on it.
    IReadOnlyList<StoredBackup> before = await DiskBackup.ListAsync(folder);
    string? since = before.LastOrDefault(
        static backup => backup.Fault is null && backup.Manifest.Checkpoint is not null)?.Manifest.Checkpoint;

    // 2. Back up all disks at one point in time: their checkpoints start together, or none does.
    BackupDisk[] disks = [
        .. tops.Select(top => new BackupDisk(top, Path.Combine(folder, $"{Path.GetFileNameWithoutExtension(top)}-{checkpoint}.qcow2")))];
    BackupOptions options = since is null
        ? new BackupOptions { Checkpoint = checkpoint }
        : new BackupOptions { Checkpoint = checkpoint, Since = since, Fallback = BackupFallback.Populate };
    IReadOnlyList<StoredBackup> backups;
    try
    {
        backups = await DiskBackup.TakeAsync(disks, options);
    }
    catch (Qcow2Exception e) when (since is not null && e is BitmapStateException or BackupException { Remedy: Remedy.AdoptBackup })
    {
        await Console.Error.WriteLineAsync($"{e.Message}: all is copied");
        backups = await DiskBackup.TakeAsync(disks, options with { Fallback = BackupFallback.Full });
    }

    // 3. Believe nothing: each backup is read again, and compared with the disk.
    foreach ((StoredBackup backup, BackupDisk disk) in backups.Zip(disks))
    {
        (string path, BackupManifest manifest) = (backup.ImagePath, backup.Manifest);
        await using ImageChain chain = await ImageChain.OpenAsync(disk.TopPath);
        if (!(await DiskBackup.VerifyAsync(path, chain)).IsGood)
        {
            await Console.Error.WriteLineAsync($"{path} does not agree with {disk.TopPath}");
            return 1;
        }

        string kind = manifest.IsFull ? "full" : $"since {manifest.Bitmap}";
        await Console.Out.WriteLineAsync($"{Path.GetFileName(path)}: {kind}, {manifest.DataBytes} bytes, verified");
    }

    return 0;
}
catch (Exception e) when (e is Qcow2Exception or IOException or UnauthorizedAccessException)
{
    await Console.Error.WriteLineAsync(e.Message);
    return 1;
}
