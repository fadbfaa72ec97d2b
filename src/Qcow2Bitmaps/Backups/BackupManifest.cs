namespace Qcow2Bitmaps.Backups;

/// <summary>What a backup is: the file beside its image. Immutable.</summary>
public sealed record BackupManifest
{
    internal BackupManifest()
    {
    }

    /// <summary>The version of the manifest's form that is written; no other is read.</summary>
    internal const int SchemaVersion = 1;

    /// <summary>The backup's id, 32 hexadecimal digits.</summary>
    public string Id { get; internal init; } = "";

    /// <summary>The id of the full backup that it goes back to.</summary>
    internal string Series { get; init; } = "";

    /// <summary>When it was taken, in UTC; later than all that it is based on.</summary>
    public DateTimeOffset Created { get; internal init; }

    /// <summary>How far it got.</summary>
    public BackupState State { get; internal init; }

    /// <summary>What it stands on, the nearest first, down to a full backup; empty of a full backup.</summary>
    internal IReadOnlyList<BackupParent> Parents { get; init; } = [];

    /// <summary>The file name of its image, in the same folder.</summary>
    internal string ImageFile { get; init; } = "";

    /// <summary>The image's format: <c>qcow2</c> or <c>raw</c>.</summary>
    public string ImageFormat { get; internal init; } = "";

    /// <summary>The disk's size in bytes.</summary>
    public long SizeBytes { get; internal init; }

    /// <summary>
    /// The whole paths of the disk's images, top first, when it was taken. For telling disks apart; nothing is opened by them.
    /// </summary>
    internal IReadOnlyList<string> Source { get; init; } = [];

    /// <summary>
    /// Which file the top image was: its number and when it was made; null where that is not known. Another file of the same path may be
    /// what was made after a snapshot was discarded.
    /// </summary>
    internal string? SourceFile { get; init; }

    /// <summary>The bitmap that it was to go by; null of a full backup.</summary>
    public string? Bitmap { get; internal init; }

    /// <summary>What was done as that was not valid; none where it was.</summary>
    public BackupFallback Fallback { get; internal init; }

    /// <summary>Why the bitmap was not valid; null where it was.</summary>
    public string? Verdict { get; internal init; }

    /// <summary>
    /// What of the disk was missing when it, or what it stands on, was taken, as a file ended before clusters that its image names: zeros
    /// are there instead. Null where the disk was whole.
    /// </summary>
    public string? Missing { get; internal init; }

    /// <summary>The checkpoint that started at its point; null without one.</summary>
    public string? Checkpoint { get; internal init; }

    /// <summary>How the image became a backup.</summary>
    public BackupOrigin Origin { get; internal init; }

    /// <summary>
    /// The bitmaps that record from its point on: what they say has changed since is what an incremental backup on top of it
    /// needs; of an unfinished one, what it lacks.
    /// </summary>
    public IReadOnlyList<string> Anchors { get; internal init; } = [];

    /// <summary>The id that all backups of one common point share; null where there was one disk.</summary>
    public string? Set { get; internal init; }

    /// <summary>How many bytes the bitmap said were dirty; null of a full backup.</summary>
    public long? DirtyBytes { get; internal init; }

    /// <summary>The size of the parts of the disk that have a checksum each, in bytes.</summary>
    internal long GroupBytes { get; init; }

    /// <summary>The parts of which it holds something, in ascending order; empty where they were not read.</summary>
    internal IReadOnlyList<BackupGroup> Groups { get; init; } = [];

    /// <summary>The file name of the manifest of the backup that it is based on, in the same folder; null of a full backup.</summary>
    public string? BasedOn => Parents.Count > 0 ? Parents[0].Manifest : null;

    /// <summary>Whether it stands alone.</summary>
    public bool IsFull => Parents.Count == 0;

    /// <summary>How many bytes of data it holds.</summary>
    public long DataBytes => Groups.Sum(static group => group.DataBytes);

    /// <summary>How many bytes it holds as zeros, that were something else before.</summary>
    public long ZeroBytes => Groups.Sum(static group => group.ZeroBytes);

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
