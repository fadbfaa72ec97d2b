using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>An image whose backing file is in a chain, and that is not part of that chain itself.</summary>
/// <remarks>
/// Images do not store their overlays. So the images' folders are searched, where overlays of a virtual machine's disk usually are: the
/// first bytes of regular files are read, without locks. Overlays in other folders and on block devices are not found.
/// </remarks>
public sealed record FoundOverlay
{
    /// <summary>How many files are looked at, at most.</summary>
    private const int MaxFiles = 100_000;
    private const int MaxNameBytes = 1023;
    private const string FileProtocol = "file:";
    private const string JsonProtocol = "json:";

    private FoundOverlay(string path, ChainLayer backing) => (Path, Backing) = (path, backing);

    /// <summary>Its path.</summary>
    public string Path { get; }

    /// <summary>Its backing file, an image of the chain.</summary>
    public ChainLayer Backing { get; }

    /// <summary>Finds overlays.</summary>
    /// <param name="chain">The chain, of files.</param>
    /// <param name="layers">The indexes of the images whose overlays are searched.</param>
    /// <param name="cancellationToken">Ends the search.</param>
    /// <returns>The overlays. Files that cannot be opened are no overlays that
    /// could be used, and are passed over.</returns>
    /// <exception cref="IOException">A folder cannot be read, or the folders have too many files.</exception>
    public static async Task<IReadOnlyList<FoundOverlay>> FindAsync(
        ImageChain chain, IEnumerable<int> layers, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        ChainLayer[] wanted = [.. layers.Select(index => chain.Layers[index]).Where(static layer => layer.Storage is FileStorage)];
        var seen = chain.Layers.Select(static layer => layer.Storage.Key).OfType<StorageIdentity>().ToHashSet();
        var found = new List<FoundOverlay>();
        int files = 0;
        foreach (string path
            in wanted.SelectMany(static layer => FoldersOf(layer.Path)).Distinct(StringComparer.Ordinal).SelectMany(FileNames.FilesIn))
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (++files > MaxFiles)
            {
                throw IOException.Of(
                    $"The folders of the images have more than {MaxFiles} files: they are not looked through for overlays");
            }

            if (await ReadBackingFileAsync(path, seen, cancellationToken).ConfigureAwait(false) is { } name
                && Array.Find(wanted, layer => LeadsTo(path, name, layer)) is { } backing)
            {
                found.Add(new FoundOverlay(path, backing));
            }
        }

        return found;
    }

    private static IEnumerable<string> FoldersOf(string path)
    {
        string named = FilePlace.OfFolder(BackingPath.FolderOf(path));
        FilePlace place = FilePlace.Of(path);
        // Overlays name the image by a link, or as what it is.
        return place.IsBlockDevice ? [] : [named, FilePlace.OfFolder(BackingPath.FolderOf(place.RealPath))];
    }

    /// <summary>Reads the backing file's name.</summary>
    /// <returns>The name; null where the file is no qcow2 image with a backing file, was seen before, or cannot be opened.</returns>
    private static async ValueTask<string?> ReadBackingFileAsync(
        string path, HashSet<StorageIdentity> seen, CancellationToken cancellationToken)
    {
        try
        {
            if (FileStorage.IdentityOf(path) is not { } identity || !seen.Add(identity) || FilePlace.Of(path).IsBlockDevice)
            {
                return null;
            }

            var file = FileStorage.Open(path, FileAccess.Read, ImageLock.None);
            await using (file.ConfigureAwait(false))
            {
                var start = new byte[HeaderLayout.ClusterBits];
                if (await file.ReadAsync(0, start, cancellationToken).ConfigureAwait(false) < start.Length
                    || BinaryPrimitives.ReadUInt32BigEndian(start) != Qcow2Header.MagicNumber)
                {
                    return null;
                }

                ulong offset = BinaryPrimitives.ReadUInt64BigEndian(start.AsSpan(HeaderLayout.BackingFileOffset));
                uint length = BinaryPrimitives.ReadUInt32BigEndian(start.AsSpan(HeaderLayout.BackingFileSize));
                if (offset == 0 || offset > long.MaxValue - MaxNameBytes || length is 0 or > MaxNameBytes)
                {
                    return null;
                }

                var name = new byte[length];
                int read = await file.ReadAsync((long)offset, name, cancellationToken).ConfigureAwait(false);
                return ImageText.Decode(name.AsSpan(0, read));
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Gone by now, a socket, or not for us.
            return null;
        }
    }

    private static bool LeadsTo(string overlay, string name, ChainLayer layer)
    {
        if (name.StartsWith(JsonProtocol, StringComparison.Ordinal))
        {
            // It is not taken apart: the name in it is enough of a suspicion.
            return name.Contains(System.IO.Path.GetFileName(layer.Path), StringComparison.Ordinal);
        }

        string path = name.StartsWith(FileProtocol, StringComparison.Ordinal) ? name[FileProtocol.Length..] : name;
        if (path.Length == 0 || BackingPath.HasProtocol(path))
        {
            return false;
        }

        try
        {
            return FileStorage.IdentityOf(BackingPath.Combine(overlay, path)) is { } identity && identity == layer.Storage.Key;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A name that leads nowhere does not lead here.
            return false;
        }
    }
}
