using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>Who stops the tool by a signal finds what a backup leaves that is cancelled.</summary>
public sealed class BackupSignalTests
{
    private const int DiskBytes = 96 << 20;

    [Theory]
    [InlineData("INT", "always")]
    [InlineData("TERM", "on-success")]
    public async Task ASignalEndsABackupInOrder(string signal, string mode)
    {
        Qemu.Require();
        await Patience.UntilAsync(() => TrySignalAsync(signal, mode), "a signal comes before the backup's end");
    }

    /// <summary>Interrupts a backup and looks at what it leaves.</summary>
    /// <returns>False when it ended before the signal came.</returns>
    private static async Task<bool> TrySignalAsync(string signal, string mode)
    {
        using var folder = TempFolder.InMemory();
        var scene = new BackupScene(folder.Path);
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", scene.Disk, DiskBytes.ToString(CultureInfo.InvariantCulture));
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await FillAsync(folder, scene.Disk);
        string[] before = scene.Names();
        long dirty = await scene.DirtyBytesAsync("c");

        // Bytes that cannot be compressed take their time.
        using Process process = Tool.StartInterruptible(
            folder.Path, "backup", "incremental", scene.Disk, scene.Backup("one"), "--since", "c", "--mode", mode, "-c");
        await Patience.UntilAsync(
            async () => process.HasExited || await LengthAsync(scene.Backup("one.partial")) >= 4 << 20, "the backup has begun");

        await Qemu.RunAsync("kill", null, "-" + signal, process.Id.ToString(CultureInfo.InvariantCulture));
        string error = await process.StandardError.ReadToEndAsync(BackupScene.Token);
        await process.WaitForExitAsync(BackupScene.Token).WaitAsync(Patience.Limit, BackupScene.Token);
        if (process.ExitCode == 0)
        {
            return false;
        }

        Assert.Equal(1, process.ExitCode);
        Assert.Contains("interrupted", error, StringComparison.Ordinal);
        if (mode == "always")
        {
            Assert.Equal([.. before, "one.backup.json.partial", "one.partial"], scene.Names());
            Assert.InRange(await scene.DirtyBytesAsync("c"), 1, dirty - 1);
        }
        else
        {
            Assert.Equal(before, scene.Names());
            Assert.Equal(dirty, await scene.DirtyBytesAsync("c"));
        }

        await scene.TakeAsync(
            "one", new BackupOptions { Since = "c", Mode = mode == "always" ? BitmapSyncMode.Always : BitmapSyncMode.OnSuccess });
        await scene.AssertRestoresAsync("one");
        return true;
    }

    private static async Task<long> LengthAsync(string path)
    {
        if (!Path.Exists(path))
        {
            return 0;
        }

        await using var file = FileStorage.Open(path, FileAccess.Read, ImageLock.None);
        return file.Length;
    }

    private static async Task FillAsync(TempFolder folder, string disk)
    {
        string raw = folder.File("raw");
        var bytes = new byte[DiskBytes];
        var random = new SplitMix(1);
        for (int at = 0; at < DiskBytes; at += sizeof(ulong))
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(at), random.Next());
        }

        await File.WriteAllBytesAsync(raw, bytes, BackupScene.Token);
        await Qemu.ImgOkAsync("convert", "-n", "-f", "raw", "-O", "qcow2", raw, disk);
        File.Delete(raw);
    }
}
