namespace Qcow2Bitmaps.Tests.Support;

/// <summary>
/// A folder on a file system of its own, whose files can share blocks. Where none can be mounted the folder is a plain one, and says so.
/// </summary>
internal sealed class ReflinkFolder : IDisposable
{
    private const long SizeBytes = 1L << 30;

    private readonly TempFolder _folder = TempFolder.InMemory();

    private ReflinkFolder()
    {
    }

    /// <summary>Whether files share blocks here.</summary>
    public bool SharesBlocks { get; private set; }

    public string Path => _folder.File("mount");

    /// <summary>How many bytes its files occupy together.</summary>
    public long UsedBytes
    {
        get
        {
            var drive = new DriveInfo(Path);
            return drive.TotalSize - drive.TotalFreeSpace;
        }
    }

    public static async Task<ReflinkFolder> MountAsync()
    {
        var folder = new ReflinkFolder();
        Directory.CreateDirectory(folder.Path);
        string file = folder._folder.File("device");
        await using (FileStream device = new(file, FileMode.CreateNew))
        {
            device.SetLength(SizeBytes);
        }

        folder.SharesBlocks = await SucceedsAsync("mkfs.xfs", "-q", "-m", "reflink=1", file)
            && await SucceedsAsync("mount", "-o", "loop", file, folder.Path);
        return folder;
    }

    public string File(string name) => System.IO.Path.Combine(Path, name);

    /// <summary>Waits until all that was written has its blocks.</summary>
    public Task SyncAsync() => Qemu.RunAsync("sync", null, "-f", Path);

    public void Dispose()
    {
        if (SharesBlocks)
        {
            using var unmount = System.Diagnostics.Process.Start("umount", [Path]);
            unmount.WaitForExit();
        }

        _folder.Dispose();
    }

    private static async Task<bool> SucceedsAsync(string tool, params string[] arguments)
    {
        try
        {
            return (await Qemu.RunAsync(tool, null, arguments)).ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            // There is no such tool.
            return false;
        }
    }
}
