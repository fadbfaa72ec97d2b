using System.Runtime.InteropServices;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Storage;

/// <summary>What only files and devices have.</summary>
public sealed class FileStorageTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task SparseFilesOccupyLessThanTheirLength()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Allocated blocks are known on Linux only");
        using var folder = new TempFolder();
        await using var storage = FileStorage.Open(folder.Write("a", new byte[8192]), FileAccess.ReadWrite);

        await storage.SetLengthAsync(1 << 30, Token);

        Assert.Equal(1 << 30, storage.Length);
        Assert.InRange(storage.AllocatedBytes!.Value, 0, 1 << 20);
    }

    [Fact]
    public void IdentityIsThatOfTheFileWhateverThePath()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Identity is known on Linux only");
        using var folder = new TempFolder();
        string path = folder.Write("a", [1]);
        File.CreateSymbolicLink(folder.File("link"), path);
        using (var hardLink = System.Diagnostics.Process.Start("ln", [path, folder.File("hard")]))
        {
            hardLink.WaitForExit();
        }

        string other = folder.Write("b", [1]);

        object? identity = IdentityOf(path);
        Assert.NotNull(identity);
        Assert.Equal(identity, IdentityOf(folder.File("link")));
        Assert.Equal(identity, IdentityOf(folder.File("hard")));
        Assert.Equal(identity, IdentityOf(folder.File("./../" + Path.GetFileName(folder.Path) + "/a")));
        Assert.NotEqual(identity, IdentityOf(other));
    }

    [Fact]
    public void OnlyFilesAndBlockDevicesOpen()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "FIFOs and devices are Linux's");
        using var folder = new TempFolder();
        string fifo = folder.File("fifo");
        using (var mkfifo = System.Diagnostics.Process.Start("mkfifo", [fifo]))
        {
            mkfifo.WaitForExit();
        }

        Assert.Contains("directory", Assert.Throws<IOException>(() => FileStorage.Open(folder.Path)).Message, StringComparison.Ordinal);
        Assert.Contains("not a regular file", Assert.Throws<IOException>(() => FileStorage.Open(fifo)).Message, StringComparison.Ordinal);
        Assert.Contains(
            "not a regular file", Assert.Throws<IOException>(() => FileStorage.Open("/dev/zero")).Message, StringComparison.Ordinal);
        Assert.Throws<FileNotFoundException>(() => FileStorage.Open(folder.File("absent")));
        Assert.Throws<IOException>(() => FileStorage.Open(folder.File("a\0b")));
    }

    [Fact]
    public async Task PathsNeedNotBeUtf8()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Paths are bytes on Linux only");
        using var folder = new TempFolder();
        folder.Write("plain", [1, 2, 3]);
        using (var move = System.Diagnostics.Process.Start("bash", ["-c", $"mv '{folder.Path}/plain' '{folder.Path}/'$'\\xff\\xfe'"]))
        {
            await move.WaitForExitAsync(Token);
        }

        await using (var storage = FileStorage.Open(folder.File("\udcff\udcfe")))
        {
            Assert.Equal(3, storage.Length);
        }

        // .NET cannot delete it by a name that it cannot say.
        using var remove = System.Diagnostics.Process.Start("bash", ["-c", $"rm -f '{folder.Path}'/*"]);
        await remove.WaitForExitAsync(Token);
    }

    [Fact]
    public async Task ABlockDeviceHasItsCapacityAsLength()
    {
        using var folder = new TempFolder();
        string file = folder.Write("disk", new byte[3 << 20]);
        using var devices = new LoopDevices();
        await using var storage = FileStorage.Open(await devices.AttachAsync(file), FileAccess.ReadWrite);

        Assert.Equal(3 << 20, storage.Length);
        await storage.WriteAsync((3 << 20) - 2, new byte[] { 5, 6 }, Token);
        await storage.FlushAsync(Token);
        var buffer = new byte[4];
        Assert.Equal(2, await storage.ReadAsync((3 << 20) - 2, buffer, Token));
        Assert.Equal([5, 6, 0, 0], buffer);
        IOException error = await Assert.ThrowsAsync<IOException>(async () => await storage.SetLengthAsync(4 << 20, Token));
        Assert.Contains("block device of 3145728 bytes", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void NativeStructuresHaveTheKernelsSize()
    {
        Assert.Equal(256, Marshal.SizeOf<LinuxNative.FileFacts>());
        Assert.Equal(32, Marshal.SizeOf<LinuxNative.FileLock>());
    }

    private static object? IdentityOf(string path)
    {
        var storage = FileStorage.Open(path);
        try
        {
            return storage.Identity;
        }
        finally
        {
            storage.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }
    }
}
