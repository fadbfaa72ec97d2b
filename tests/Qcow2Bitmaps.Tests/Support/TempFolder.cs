namespace Qcow2Bitmaps.Tests.Support;

/// <summary>A folder of its own for a test, deleted with all that is in it.</summary>
internal sealed class TempFolder : IDisposable
{
    private const string MemoryFolder = "/dev/shm";

    public TempFolder()
        : this(Directory.CreateTempSubdirectory("qcow2bitmaps-").FullName)
    {
    }

    private TempFolder(string path) => Path = path;

    /// <summary>A folder in memory, where there are gigabytes of it: for tests that write much and flush often. Else one on disk.</summary>
    public static TempFolder InMemory()
    {
        if (!Directory.Exists(MemoryFolder) || new DriveInfo(MemoryFolder).AvailableFreeSpace < 4L << 30)
        {
            return new TempFolder();
        }

        return new TempFolder(
            Directory.CreateDirectory(System.IO.Path.Combine(MemoryFolder, "qcow2bitmaps-" + Guid.NewGuid().ToString("N"))).FullName);
    }

    public string Path { get; }

    public string File(string name) => System.IO.Path.Combine(Path, name);

    public string Write(string name, byte[] content)
    {
        System.IO.File.WriteAllBytes(File(name), content);
        return File(name);
    }

    /// <summary>Whether the file system has files of a length; most have not of exabytes.</summary>
    public bool HoldsFilesOf(long lengthBytes)
    {
        string path = File("length-probe");
        try
        {
            using Microsoft.Win32.SafeHandles.SafeFileHandle file = System.IO.File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write);
            RandomAccess.SetLength(file, lengthBytes);
            return true;
        }
        catch (Exception e) when (e is IOException or ArgumentException)
        {
            return false;
        }
        finally
        {
            System.IO.File.Delete(path);
        }
    }

    public void Dispose()
    {
        try
        {
            Directory.Delete(Path, recursive: true);
        }
        catch (IOException)
        {
            // The framework does not find names that are not UTF-8.
            using var rm = System.Diagnostics.Process.Start("rm", ["-rf", Path]);
            rm.WaitForExit();
        }
    }
}
