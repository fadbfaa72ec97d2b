using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Naming;

/// <summary>Decides which name an image stores for a file: always one that leads both QEMU and this library to the same file.</summary>
/// <remarks>
/// QEMU treats a name with a colon before its first slash as a protocol. Relative names of backing files start from the folder of the image
/// as it was opened, by a link or by its real path; those of data files start from the opening process's current folder. So a name is used
/// only if it leads to the file from both paths of the image.
/// </remarks>
internal static class StoredName
{
    private const string BackingFile = "backing file";

    /// <summary>The name of a file that a path led to: its file name if it is in the image's folder, otherwise an absolute path.</summary>
    /// <param name="path">The path.</param>
    /// <param name="file">The file that it led to; null if unknown, and then nothing is compared.</param>
    /// <param name="imagePath">The image that will store the name; it need not exist yet.</param>
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

    /// <summary>Checks a name chosen by the caller, and returns the name to store: the same one if it leads to the file that was
    /// opened.</summary>
    /// <param name="name">The name.</param>
    /// <param name="file">The file that was opened; null if unknown, and then nothing is compared.</param>
    /// <param name="imagePath">The image that will store the name; it need not exist yet.</param>
    /// <returns>The name; an absolute path if the image's path is a link in a folder from which the name would mean another file.</returns>
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

    /// <summary>Throws for a name that QEMU would treat as a protocol.</summary>
    /// <exception cref="Qcow2UnsupportedException">The name starts with a protocol.</exception>
    public static void RequireFile(string name)
    {
        if (FindProtocol(name) is { } fault)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.BackingProtocol, fault);
        }
    }

    /// <summary>Why a name that QEMU would treat as a protocol leads to no file; null for other names.</summary>
    public static string? FindProtocol(string name) => ImagePath.HasProtocol(name)
        ? PrintableMessage.Of($"{BackingFile} '{name}' names a protocol; only files are opened. A file of that name is './{name}'")
        : null;

    /// <summary>Why an unchecked name cannot be stored; null if it can.</summary>
    public static string? FindAmbiguity(string name, string imagePath) =>
        ImagePath.HasProtocol(name) && (Find("./" + name) ?? Find(ImagePath.FolderOf(imagePath) + "/" + name)) is not null
            ? PrintableMessage.Of(
                $"{BackingFile} '{name}' would be read as a protocol, not as the file of that name; that file is './{name}'")
            : null;

    /// <summary>
    /// The name of a data file that is, or will be created, at a path: unchanged if it leads there both from the image's folder and from
    /// the current folder, otherwise an absolute path.
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

    /// <summary>The paths by which the image may be opened: the given path, and its real path.</summary>
    private static IEnumerable<string> PlacesOf(string imagePath) =>
        Find(imagePath) is null ? [imagePath] : [imagePath, FilePlace.Of(imagePath).RealPath];

    private static bool IsBeside(string path, string imagePath) => LinuxNative.IsSupported
        ? Find(ImagePath.FolderOf(path)) is { } folder && folder == Find(ImagePath.FolderOf(imagePath))
        : string.Equals(FileNames.FolderOf(path), FileNames.FolderOf(imagePath), StringComparison.Ordinal);

    /// <summary>The identity of the file at a path; null if there is none, or none that can be accessed.</summary>
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
