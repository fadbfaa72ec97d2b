using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>How a chain is opened. Immutable and as thread-safe as its resolver.</summary>
public sealed record ChainOpenOptions
{
    /// <summary>The defaults: the top image's own folder only, formats as stated or probed, the locks of a reader.</summary>
    internal static ChainOpenOptions Default { get; } = new();

    /// <summary>How each image is opened.</summary>
    public Qcow2OpenOptions Image { get; init; } = Qcow2OpenOptions.Default;

    /// <summary>The top image's format, <c>qcow2</c> or <c>raw</c>; probed when null.</summary>
    public string? TopFormat { get; init; }

    /// <summary>
    /// The images that are opened for writing, with the locks of a writer, by their index from the top, which is 0; an external data file
    /// goes with its image. All others are only read.
    /// </summary>
    public IReadOnlyCollection<int> WritableLayers { get; init; } = [];

    internal StorageAccess AccessOf(int layer) => WritableLayers.Contains(layer) ? StorageAccess.ReadWrite : StorageAccess.Read;

    /// <summary>The locks that go with <see cref="AccessOf"/>; none where none are wanted.</summary>
    internal ImageLock LockOf(int layer) => WritableLayers.Contains(layer) && Image.Lock != ImageLock.None ? ImageLock.Write : Image.Lock;

    /// <summary>Whether backing files are opened; if not, the chain is the top image alone.</summary>
    public bool FollowBacking { get; init; } = true;

    /// <summary>
    /// Folders from which backing files may be opened besides the top image's own. Without meaning with a <see cref="Resolver"/>.
    /// </summary>
    public IReadOnlyList<string> AllowedFolders { get; init; } = [];

    /// <summary>Opens backing files; <see cref="FileBackingResolver.ForTop"/> of the top image when null and that is a file.</summary>
    public IBackingResolver? Resolver { get; init; }

    /// <summary>
    /// The id or the name of an internal snapshot of the top image whose disk is read instead of the active one; ids
    /// first. Bitmaps are those of the active state.
    /// </summary>
    public string? TopSnapshot { get; init; }
}
