using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>Compares backups with the checksums of their manifests, and with the disk.</summary>
internal static class BackupVerification
{
    private const int BufferBytes = 1 << 20;
    // More would add no information.
    private const int MaxDamage = 100;

    public static async Task<BackupCheck> RunAsync(
        string path, ImageChain? disk, string? since, IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        IReadOnlyList<StoredBackup> chain = await BackupStore.ReadChainAsync(path, cancellationToken).ConfigureAwait(false);
        long total = DiskBytes.Total(
            chain.Concat(chain.Take(disk is null ? 0 : 1)).Select(static backup => backup.Manifest.SizeBytes));
        long done = 0;
        var damage = new List<BackupDamage>();
        foreach (StoredBackup backup in chain)
        {
            damage.AddRange(await ReadAsync(backup, new ProgressShare(progress, done, total), cancellationToken).ConfigureAwait(false));
            done = DiskBytes.Add(done, backup.Manifest.SizeBytes);
        }

        var check = new BackupCheck(chain, damage);
        if (disk is null)
        {
            return check;
        }

        BackupManifest manifest = chain[0].Manifest;
        string bitmap = since ?? manifest.Anchors.Concat([manifest.Bitmap]).FirstOrDefault(static name => name is not null)
            ?? throw new BackupException($"'{chain[0].ManifestPath}' names no bitmap that marks what has changed since: name one");
        (long? difference, long compared) = await CompareAsync(
            chain, disk, bitmap, manifest.SizeBytes, new ProgressShare(progress, done, total), cancellationToken).ConfigureAwait(false);
        check = check with { Bitmap = bitmap, FirstDifferenceOffsetBytes = difference, ComparedBytes = compared };
        if (!check.IsGood || manifest.State != BackupState.Anchoring || !manifest.Anchors.Contains(bitmap, StringComparer.Ordinal))
        {
            return check;
        }

        // All clean parts are unchanged, so the bitmap is reliable, whether or not the edit was made.
        BackupManifest confirmed = manifest with { State = BackupState.Complete, Anchors = [bitmap] };
        DurableFile.Replace(chain[0].ManifestPath, ManifestJson.Write(confirmed), FileRights.Plain);
        return check with { IsConfirmed = true };
    }

    private static async ValueTask<IReadOnlyList<BackupDamage>> ReadAsync(
        StoredBackup backup, IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        var damage = new List<BackupDamage>();
        var check = new GroupCheck(backup, fault => Add(damage, fault));
        try
        {
            await LayerReplay.RunAsync(
                backup, new NullDisk(backup.Manifest.SizeBytes), ConversionOptions.DefaultWorkers, check.Add, progress,
                cancellationToken).ConfigureAwait(false);
            check.Complete();
        }
        catch (Qcow2FormatException e)
        {
            Add(damage, new BackupDamage(backup, 0, e.Message));
        }

        return damage;
    }

    private static void Add(List<BackupDamage> damage, BackupDamage fault)
    {
        if (damage.Count < MaxDamage)
        {
            damage.Add(fault);
        }
    }

    /// <summary>Compares the parts that the bitmap marks as clean.</summary>
    internal static async ValueTask<(long? Difference, long ComparedBytes)> CompareAsync(
        IReadOnlyList<StoredBackup> backups, ImageChain disk, string bitmap, long endBytes, IProgress<OperationProgress>? progress,
        CancellationToken cancellationToken)
    {
        var images = new BackupDisks(backups);
        await using (images.ConfigureAwait(false))
        {
            Disk backup = await images.OpenAsync(cancellationToken).ConfigureAwait(false);
            (var cursor, var backupCursor) = (new DiskCursor(disk), new DiskCursor(backup));
            (byte[] bytes, byte[] backupBytes) = (new byte[BufferBytes], new byte[BufferBytes]);
            long compared = 0;
            await foreach (DirtyExtent extent
                in disk.ReadExtentsAsync(bitmap, includeClean: true, cancellationToken: cancellationToken).ConfigureAwait(false))
            {
                // Parts that the disk gained by growing are always copied.
                long end = Math.Min(extent.EndBytes, Math.Min(disk.SizeBytes, endBytes));
                for (long at = extent.OffsetBytes; at < end && !extent.IsDirty;)
                {
                    DiskExtent own = await cursor.GoToAsync(at, cancellationToken).ConfigureAwait(false);
                    DiskExtent its = await backupCursor.GoToAsync(at, cancellationToken).ConfigureAwait(false);
                    bool areZeros = own.IsZero && its.IsZero;
                    long length = Math.Min(end - at, areZeros ? Math.Min(own.EndBytes, its.EndBytes) - at : BufferBytes);
                    if (!areZeros)
                    {
                        await disk.ReadAsync(at, bytes.AsMemory(0, (int)length), cancellationToken).ConfigureAwait(false);
                        await backup.ReadAsync(at, backupBytes.AsMemory(0, (int)length), cancellationToken).ConfigureAwait(false);
                        int same = bytes.AsSpan(0, (int)length).CommonPrefixLength(backupBytes.AsSpan(0, (int)length));
                        if (same < length)
                        {
                            return (at + same, compared + same);
                        }
                    }

                    at += length;
                    compared += length;
                    progress?.Report(new OperationProgress(at, endBytes));
                }
            }

            return (null, compared);
        }
    }
}
