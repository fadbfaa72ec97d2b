namespace Qcow2Bitmaps.Backups;

/// <summary>The description of a backup: the file beside its image. Immutable.</summary>
public sealed record BackupManifest
{
    internal BackupManifest()
    {
    }

    /// <summary>The version of the manifest's form that is written; no other is read.</summary>
    internal const int SchemaVersion = 1;

    /// <summary>The backup's id, 32 hexadecimal digits.</summary>
    public string Id { get; internal init; } = "";

    /// <summary>The id of the full backup that it is ultimately based on.</summary>
    internal string Series { get; init; } = "";

    /// <summary>When it was taken, in UTC; later than all that it is based on.</summary>
    public DateTimeOffset Created { get; internal init; }

    /// <summary>Its state.</summary>
    public BackupState State { get; internal init; }

    /// <summary>The backups that it is based on, the nearest first, down to a full backup; empty for a full backup.</summary>
    internal IReadOnlyList<BackupParent> Parents { get; init; } = [];

    /// <summary>The file name of its image, in the same folder.</summary>
    internal string ImageFile { get; init; } = "";

    /// <summary>The image's format: <c>qcow2</c> or <c>raw</c>.</summary>
    public string ImageFormat { get; internal init; } = "";

    /// <summary>The disk's size in bytes.</summary>
    public long SizeBytes { get; internal init; }

    /// <summary>
    /// The full paths of the disk's images, top first, when it was taken. They only distinguish disks; nothing is opened by them.
    /// </summary>
    internal IReadOnlyList<string> Source { get; init; } = [];

    /// <summary>
    /// The identity of the top image's file: its inode number and creation time; null if unknown. A different file at the same path may
    /// have been created after a snapshot was discarded.
    /// </summary>
    internal string? SourceFile { get; init; }

    /// <summary>The bitmap that it was requested for; null for a full backup.</summary>
    public string? Bitmap { get; internal init; }

    /// <summary>What was done because that bitmap was not valid; none if it was valid.</summary>
    public BackupFallback Fallback { get; internal init; }

    /// <summary>Why the bitmap was not valid; null if it was valid.</summary>
    public string? Verdict { get; internal init; }

    /// <summary>
    /// Which part of the disk was missing when it, or a backup that it is based on, was taken, because a file was shorter than its tables
    /// require: those parts are zeros. Null if nothing was missing.
    /// </summary>
    public string? Missing { get; internal init; }

    /// <summary>The checkpoint that started at its point; null without one.</summary>
    public string? Checkpoint { get; internal init; }

    /// <summary>How the image became a backup.</summary>
    public BackupOrigin Origin { get; internal init; }

    /// <summary>
    /// The bitmaps that record from its point on. An incremental backup based on it needs what they mark; an unfinished
    /// backup lacks what they mark.
    /// </summary>
    public IReadOnlyList<string> Anchors { get; internal init; } = [];

    /// <summary>The id shared by all backups of the same point in time; null if there was one disk.</summary>
    public string? Set { get; internal init; }

    /// <summary>How many bytes the bitmap marked as dirty; null for a full backup.</summary>
    public long? DirtyBytes { get; internal init; }

    /// <summary>The size of the parts of the disk that have a checksum each, in bytes.</summary>
    internal long GroupBytes { get; init; }

    /// <summary>The parts of which it stores something, in ascending order; empty if they were not read.</summary>
    internal IReadOnlyList<BackupGroup> Groups { get; init; } = [];

    /// <summary>The file name of the manifest of the backup that it is based on, in the same folder; null of a full backup.</summary>
    public string? BasedOn => Parents.Count > 0 ? Parents[0].Manifest : null;

    /// <summary>Whether it is a full backup.</summary>
    public bool IsFull => Parents.Count == 0;

    /// <summary>How many bytes of data it holds.</summary>
    public long DataBytes => DiskBytes.Total(Groups.Select(static group => group.DataBytes));

    /// <summary>How many bytes it holds as zeros, that were something else before.</summary>
    public long ZeroBytes => DiskBytes.Total(Groups.Select(static group => group.ZeroBytes));

    /// <summary>The size of the parts for a disk: 64 MiB, or more where those would be too many.</summary>
    internal static long GroupBytesFor(long sizeBytes)
    {
        const long MinGroupBytes = 64 << 20;
        long bytes = MinGroupBytes;
        while (sizeBytes / bytes >= ManifestJson.MaxGroups)
        {
            bytes *= 2;
        }

        return bytes;
    }
}
