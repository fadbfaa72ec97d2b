namespace Qcow2Bitmaps.Backups;

/// <summary>A backup in a list.</summary>
/// <param name="ManifestPath">Where its manifest stands; of an unfinished one the name ends with
/// <see cref="BackupPaths.PartialSuffix"/>.</param>
/// <param name="Manifest">The manifest without its checksums; null when it cannot be read.</param>
/// <param name="Fault">Why it cannot be restored, or not be built on, as far as that shows; null when nothing is known against it.</param>
public sealed record ListedBackup(string ManifestPath, BackupManifest? Manifest, string? Fault);
