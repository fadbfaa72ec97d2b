using Microsoft.Win32.SafeHandles;

namespace Qcow2Bitmaps.Storage;

/// <summary>The permissions of a file that is made from other files: besides its owner, only users who may read every source can read
/// it.</summary>
/// <remarks>
/// The owner may read and write it, others may at most read it, and the umask applies. A file made next to one of its sources gets that
/// source's owner and group, as far as the process may set them. If the group differs from a source's, its members are not the ones the
/// source's mode speaks of; the same holds if a source has an access control list. Then a permission is given only if the source grants it
/// to both its group and others. Without sources a file has mode 0644 less the umask, like qemu-img's.
/// </remarks>
internal sealed class FileRights
{
    private const int OwnerMode = 0x180; // rw-------
    private const int NewFileMode = 0x1A4; // rw-r--r--
    private const int ReadBit = 4;
    private const int GroupShift = 3;
    private const int StrictUmask = 0x3F; // ---rwxrwx
    private const string StatusFile = "/proc/self/status";
    private const string UmaskLine = "Umask:";

    private readonly List<FileSource> _sources = [];

    private FileRights()
    {
    }

    /// <summary>The permissions of a file without sources.</summary>
    public static FileRights Plain { get; } = new();

    /// <summary>The permissions of a file that is made from storages; storages that are not files add no restriction.</summary>
    public static FileRights Of(IEnumerable<ImageStorage> sources)
    {
        var rights = new FileRights();
        rights._sources.AddRange(sources.Select(static source => source.AsSource()).OfType<FileSource>());
        return rights;
    }

    /// <summary>These permissions with one more source, if that exists; it is not opened.</summary>
    public FileRights With(string path)
    {
        if (!LinuxNative.IsSupported)
        {
            return this;
        }

        try
        {
            using SafeFileHandle pathOnly = LinuxFile.OpenPathOnly(path);
            return With([FileSource.Of(pathOnly, path)]);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A source that cannot be found adds no restriction.
            return this;
        }
    }

    /// <summary>These permissions with the sources of others added.</summary>
    public FileRights With(FileRights others) => With(others._sources);

    /// <summary>Creates an empty file for reading and writing; null when the path exists.</summary>
    /// <exception cref="IOException">It cannot be made.</exception>
    /// <exception cref="UnauthorizedAccessException">The permissions of the folder forbid it.</exception>
    public SafeFileHandle? CreateNew(string path)
    {
        if (_sources.Count == 0)
        {
            return LinuxFile.CreateNew(path, NewFileMode);
        }

        SafeFileHandle? file = LinuxFile.CreateNew(path, OwnerMode);
        if (file is null)
        {
            return null;
        }

        try
        {
            GiveOwner(file, path);
            int mode = OwnerMode | (SharedMode(LinuxFile.Facts(file, path)) & ~Umask());
            // A file system without modes reports none, and has no permissions either.
            if (mode != OwnerMode)
            {
                _ = LinuxNative.ChangeMode(file, (uint)mode);
            }

            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private FileRights With(IEnumerable<FileSource> more)
    {
        var rights = new FileRights();
        rights._sources.AddRange(_sources);
        rights._sources.AddRange(more);
        return rights;
    }

    /// <summary>Copies the owner and group of a source, as far as the process may: without root only one of its own groups.</summary>
    private void GiveOwner(SafeFileHandle file, string path)
    {
        string folder = FilePlace.OfFolder(ImagePath.FolderOf(path));
        LinuxNative.FileFacts made = LinuxFile.Facts(file, path);
        if (_sources.Find(source => source.LiesIn(folder)) is { } beside
            && (beside.Facts.User, beside.Facts.Group) != (made.User, made.Group))
        {
            _ = LinuxNative.ChangeOwner(
                file, LinuxNative.EffectiveUser() == 0 ? beside.Facts.User : LinuxNative.SameOwner, beside.Facts.Group);
        }
    }

    /// <summary>The bits of the group and of others that all sources allow.</summary>
    private int SharedMode(LinuxNative.FileFacts made)
    {
        int group = ReadBit;
        int others = ReadBit;
        foreach (FileSource source in _sources)
        {
            int ofGroup = source.Facts.Mode >> GroupShift;
            int ofOthers = source.Facts.Mode;
            bool isSameGroup = source.Facts.Group == made.Group && !source.HasAccessList;
            group &= isSameGroup ? ofGroup : ofGroup & ofOthers;
            others &= isSameGroup ? ofOthers : ofGroup & ofOthers;
        }

        return (group << GroupShift) | others;
    }

    /// <summary>The process's umask, read without changing it; if the system does not report it, one that removes all rights except the
    /// owner's.</summary>
    private static int Umask()
    {
        try
        {
            string? line = File.ReadLines(StatusFile).FirstOrDefault(static line => line.StartsWith(UmaskLine, StringComparison.Ordinal));
            return line is null ? StrictUmask : Convert.ToInt32(line[UmaskLine.Length..].Trim(), fromBase: 8);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return StrictUmask;
        }
    }
}
