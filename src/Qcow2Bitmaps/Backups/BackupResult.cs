using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Backups;

/// <summary>A backup that was taken.</summary>
/// <param name="ManifestPath">Where its manifest stands.</param>
/// <param name="ImagePath">Where its image stands.</param>
/// <param name="Manifest">The manifest.</param>
/// <param name="Bitmaps">What became of bitmaps of the disk.</param>
public sealed record BackupResult(string ManifestPath, string ImagePath, BackupManifest Manifest, IReadOnlyList<BitmapChange> Bitmaps);
