using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Naming;

/// <summary>Decides which name an image stores for a file: always one by which QEMU and we find the very file that was looked at.</summary>
/// <remarks>
/// A name with a colon before its first slash is a protocol's to QEMU; relative names of backing files start from the folder of the image
/// as it was opened, be that by a link or where it really is, those of data files from the current folder of whoever opens the image. So a
/// name counts only when it leads to the file from both the image's places.
/// </remarks>
internal static class StoredName
{
    private const string BackingFile = "backing file";

    /// <summary>
    /// The name of a file that a path led to: its file name where it lies beside the image, else a path from the root on.
    /// </summary>
    /// <param name="path">The path.</param>
    /// <param name="file">The file that it led to; null when that is not known, and nothing can be compared.</param>
    /// <param name="imagePath">The image that is to store the name; it need not exist yet.</param>
    /// <exception cref="IOException">No name leads to the file: it was renamed or replaced.</exception>
    public static string Of(string path, StorageIdentity? file, string imagePath)
    {
        string whole = FileNames.Whole(path);
        string name = Path.GetFileName(whole);
        var names = new List<string>();
        if (IsBeside(path, imagePath))
        {
            names.Add(ImagePath.HasProtocol(name) ? "./" + name : name);
        }

        names.Add(whole);
        if (file is not null && FileStorage.IdentityOf(path) is not null)
        {
            // Where '..' follows a link the text alone leads elsewhere.
            string folder = FilePlace.OfFolder(ImagePath.FolderOf(path));
            names.AddRange([Path.Combine(folder, name), FilePlace.Of(path).RealPath]);
        }

        return names.Find(one => LeadsTo(one, imagePath, file))
            ?? throw IOException.Of($"'{path}' no longer leads to the file that was opened: '{imagePath}' cannot name it");
    }

    /// <summary>A name that somebody has chosen, as it is to be stored: itself where it means the file that was looked at.</summary>
    /// <param name="name">The name.</param>
    /// <param name="file">The file that was looked at; null when that is not known, and nothing can be compared.</param>
    /// <param name="imagePath">The image that is to store the name; it need not exist yet.</param>
    /// <returns>The name; a path from the root on where the image is named by a link, and stands in a folder where the
    /// name would mean something else.</returns>
    /// <exception cref="Qcow2UnsupportedException">The name starts with a protocol.</exception>
    /// <exception cref="IOException">The name leads to another file, or nowhere.</exception>
    public static string Chosen(string name, StorageIdentity? file, string imagePath)
    {
        RequireFile(name);
        if (LeadsTo(name, imagePath, file))
        {
            return name;
        }

        string path = ImagePath.Combine(imagePath, name);
        StorageIdentity? there = Find(path);
        return there == file
            ? Of(path, file, imagePath)
            : throw IOException.Of(
                $"{BackingFile} '{name}', as '{imagePath}' would name it, leads "
                + $"{(there is null ? "nowhere" : $"to another file, '{path}'")}: "
                + "a name must lead to the image that lies below; relative names start from the folder of the image that holds them");
    }

    /// <summary>Refuses a name that QEMU takes for a protocol's.</summary>
    /// <exception cref="Qcow2UnsupportedException">The name starts with a protocol.</exception>
    public static void RequireFile(string name)
    {
        if (FindProtocol(name) is { } fault)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.BackingProtocol, fault);
        }
    }

    /// <summary>Says why a name that QEMU takes for a protocol's leads to no file; null for all others.</summary>
    public static string? FindProtocol(string name) => ImagePath.HasProtocol(name)
        ? PrintableMessage.Of($"{BackingFile} '{name}' names a protocol; only files are opened. A file of that name is './{name}'")
        : null;

    /// <summary>Says why a name cannot be stored that nobody has looked at; null when it can.</summary>
    public static string? FindAmbiguity(string name, string imagePath) =>
        ImagePath.HasProtocol(name) && (Find("./" + name) ?? Find(ImagePath.FolderOf(imagePath) + "/" + name)) is not null
            ? PrintableMessage.Of(
                $"{BackingFile} '{name}' would be read as a protocol, not as the file of that name; that file is './{name}'")
            : null;

    /// <summary>
    /// The name of a data file that stands at a path, or is to be made there: as it is where both ways to read it
    /// lead there, else a path from the root on.
    /// </summary>
    public static string OfDataFile(string path, string imagePath) =>
        path.StartsWith('/')
            || !LinuxNative.IsSupported
            || PlacesOf(imagePath).All(static place =>
                string.Equals(FilePlace.OfFolder(ImagePath.FolderOf(place)), FileNames.CurrentFolder, StringComparison.Ordinal))
            ? path
            : Path.Combine(FileNames.CurrentFolder, path);

    private static bool LeadsTo(string name, string imagePath, StorageIdentity? file) =>
        !ImagePath.HasProtocol(name) && (file is null || PlacesOf(imagePath).All(place => Find(ImagePath.Combine(place, name)) == file));

    /// <summary>Where the image may be opened: the path as it is named, and where that really leads.</summary>
    private static IEnumerable<string> PlacesOf(string imagePath) =>
        Find(imagePath) is null ? [imagePath] : [imagePath, FilePlace.Of(imagePath).RealPath];

    private static bool IsBeside(string path, string imagePath) => LinuxNative.IsSupported
        ? Find(ImagePath.FolderOf(path)) is { } folder && folder == Find(ImagePath.FolderOf(imagePath))
        : string.Equals(FileNames.FolderOf(path), FileNames.FolderOf(imagePath), StringComparison.Ordinal);

    /// <summary>What stands at a path; null for nothing, or nothing that can be looked at.</summary>
    private static StorageIdentity? Find(string path)
    {
        try
        {
            return FileStorage.IdentityOf(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
