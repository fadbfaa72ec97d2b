namespace Qcow2Bitmaps.Backups;

/// <summary>Checks that a disk is a continuation of the one that a backup was taken of.</summary>
/// <param name="chain">The disk.</param>
/// <param name="identity">Which one it is.</param>
/// <param name="bitmap">The bitmap, which is valid over the chain.</param>
internal sealed class DiskCourse(ImageChain chain, DiskIdentity identity, string bitmap)
{
    /// <summary>
    /// If the image is gone that was on top when the backup below was taken, it was committed, or else discarded: then the disk is not
    /// what became of that backup, and no bitmap tells. Their bytes do.
    /// </summary>
    /// <param name="below">The backup to build on, and what that is based on.</param>
    /// <param name="unfinished">The incomplete backup that is resumed; null for none.</param>
    /// <param name="keptBytes">The offset up to which the disk has existed all the time since.</param>
    /// <param name="cancellationToken">Ends the comparison.</param>
    /// <exception cref="BackupException">It is not a continuation.</exception>
    public async ValueTask RequireSameAsync(
        IReadOnlyList<StoredBackup> below, StoredBackup? unfinished, long keptBytes, CancellationToken cancellationToken)
    {
        // Its bitmap is the other program's, which may clear it at any time.
        bool isAdopted = below.Any(backup =>
            backup.Manifest.Origin == BackupOrigin.AdoptedCompared
                && string.Equals(backup.Manifest.Checkpoint, bitmap, StringComparison.Ordinal));
        // No bitmap tells what a resumed one has copied: it has to be the image that it was taken of.
        bool isOfThisTop = identity.Has((unfinished ?? below[0]).Manifest);
        if (!isAdopted && isOfThisTop)
        {
            return;
        }

        if (unfinished is not null && !isOfThisTop)
        {
            throw new BackupException(
                $"'{unfinished.ManifestPath}' cannot be resumed: the image that it was taken of is no longer in the chain. "
                + $"A full backup is needed");
        }

        // A checkpoint in the previous top image is gone with it: if files cannot be identified, no proof is needed as long as the path has
        // that checkpoint. At another path, the checkpoint may belong to another disk on the same images.
        if (!isAdopted
            && below[0].Manifest is { SourceFile: null, Checkpoint: { } checkpoint }
            && identity.TopFile is null
            && identity.IsAt(below[0].Manifest)
            && string.Equals(checkpoint, bitmap, StringComparison.Ordinal))
        {
            return;
        }

        StoredBackup top = unfinished?.Unplaced ?? below[0];
        (long? difference, _) = await BackupVerification.CompareAsync(
            unfinished is null ? below : [top, .. below], chain, bitmap, keptBytes, null, cancellationToken).ConfigureAwait(false);
        if (difference is { } at)
        {
            throw new BackupException(
                $"'{top.ManifestPath}' cannot be built on: the disk differs from it at byte {at}, where bitmap '{bitmap}' is clean. "
                + (isAdopted
                    ? "Perhaps the program that started the bitmap took a later backup, and cleared it: adopt that too, "
                        + "or take a full backup"
                    : "Perhaps a snapshot was discarded that it was taken of; a full backup is needed"));
        }
    }
}
