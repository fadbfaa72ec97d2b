namespace Qcow2Bitmaps.Backups;

/// <summary>A backup that another one is based on.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Manifest">The file name of its manifest, in the same folder.</param>
internal sealed record BackupParent(string Id, string Manifest);
