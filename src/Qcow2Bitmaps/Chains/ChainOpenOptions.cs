using Qcow2Bitmaps.Chains;
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

    internal FileAccess AccessOf(int layer) => WritableLayers.Contains(layer) ? FileAccess.ReadWrite : FileAccess.Read;

    /// <summary>The locks that match <see cref="AccessOf"/>; none if locking is off.</summary>
    internal ImageLock LockOf(int layer) => WritableLayers.Contains(layer) && Image.Lock != ImageLock.None ? ImageLock.Write : Image.Lock;

    /// <summary>Whether backing files are opened; if not, the chain is the top image alone.</summary>
    public bool FollowBacking { get; init; } = true;

    /// <summary>
    /// Folders, besides the top image's own, from which backing files and data files may be opened, after all symbolic links are resolved.
    /// <c>/</c>, <c>/dev</c>, <c>/dev/mapper</c> and <c>/dev/disk</c> are allowed only if they are given here, because they contain every
    /// file or every disk. A symbolic link directly in an allowed folder may lead to a block device elsewhere. Ignored if a
    /// <see cref="Resolver"/> is set.
    /// </summary>
    public IReadOnlyList<string> AllowedFolders { get; init; } = [];

    /// <summary>
    /// Opens backing files and data files. If null and the top image is a file, regular files and block devices are opened, in its own
    /// folder and the <see cref="AllowedFolders"/>; on 64-bit Linux only, as other systems cannot check and open a path in one step.
    /// </summary>
    public IBackingResolver? Resolver { get; init; }

    /// <summary>
    /// The id or the name of an internal snapshot of the top image whose disk is read instead of the active one; ids
    /// first. Bitmaps are those of the active state.
    /// </summary>
    public string? TopSnapshot { get; init; }

    /// <summary>Checks, without opening it, whether a file that the top image names would be refused for where it really is.</summary>
    /// <param name="topPath">The top image.</param>
    /// <param name="name">The file's name, as the image stores it.</param>
    /// <param name="isDataFile">Whether it is the image's external data file; else it is its backing file.</param>
    /// <returns>Why it would be refused; null if it would not, or does not exist, or if a <see cref="Resolver"/> decides.</returns>
    /// <exception cref="IOException">An allowed folder does not exist, or is none.</exception>
    public string? FindRefusal(string topPath, string name, bool isDataFile = false) => Resolver is null && LinuxNative.IsSupported
        ? FileBackingResolver.ForTop(topPath, AllowedFolders).FindRefusal(
            new BackingReference(topPath, name, isDataFile ? ImageFormat.Raw : null, isDataFile ? 0 : 1) { IsDataFile = isDataFile })
        : null;
}
