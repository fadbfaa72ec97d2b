using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>How a chain is opened. Immutable and as thread-safe as its resolver.</summary>
public sealed record ChainOpenOptions
{
    /// <summary>The defaults: backing files only from the top image's own folder, formats as stated or probed, reader locks.</summary>
    internal static ChainOpenOptions Default { get; } = new();

    /// <summary>How each image is opened.</summary>
    public Qcow2OpenOptions Image { get; init; } = Qcow2OpenOptions.Default;

    /// <summary>The top image's format, <c>qcow2</c> or <c>raw</c>; probed when null.</summary>
    public string? TopFormat { get; init; }

    /// <summary>
    /// The indexes of the images that are opened for writing, with writer locks; the top image is 0. An external data file is opened like
    /// its image. All others are opened read-only.
    /// </summary>
    public IReadOnlyCollection<int> WritableLayers { get; init; } = [];

    internal StorageAccess AccessOf(int layer) => WritableLayers.Contains(layer) ? StorageAccess.ReadWrite : StorageAccess.Read;

    /// <summary>The locks that match <see cref="AccessOf"/>; none if locking is off.</summary>
    internal ImageLock LockOf(int layer) => WritableLayers.Contains(layer) && Image.Lock != ImageLock.None ? ImageLock.Write : Image.Lock;

    /// <summary>Whether backing files are opened; if not, the chain is the top image alone.</summary>
    public bool FollowBacking { get; init; } = true;

    /// <summary>
    /// Folders, besides the top image's own, from which backing files may be opened. Ignored if a <see cref="Resolver"/> is set.
    /// </summary>
    public IReadOnlyList<string> AllowedFolders { get; init; } = [];

    /// <summary>Opens backing files. If null and the top image is a file, <see cref="FileBackingResolver.ForTop"/> of it is used.</summary>
    public IBackingResolver? Resolver { get; init; }

    /// <summary>
    /// The id or the name of an internal snapshot of the top image whose disk is read instead of the active one; ids
    /// first. Bitmaps are those of the active state.
    /// </summary>
    public string? TopSnapshot { get; init; }
}
