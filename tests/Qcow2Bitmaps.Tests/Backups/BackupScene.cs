using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>A disk of a few MiB with data, and a folder for its backups.</summary>
internal sealed class BackupScene(string path, string suffix = "")
{
    public string Disk => Path.Combine(path, $"disk{suffix}.qcow2");

    public static CancellationToken Token => TestContext.Current.CancellationToken;

    public static async Task<BackupScene> CreateAsync(TempFolder folder, string size = "8M", string suffix = "")
    {
        Qemu.Require();
        var scene = new BackupScene(folder.Path, suffix);
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", scene.Disk, size);
        await scene.WriteAsync($"write -P 1 0 {(size is "1M" or "4M" ? "800k" : "6M")}");
        return scene;
    }

    /// <summary>All files as they are now, elsewhere: what a stop at this moment would leave.</summary>
    public void CopyTo(string target)
    {
        Directory.CreateDirectory(target);
        foreach (string file in Directory.EnumerateFiles(path))
        {
            File.Copy(file, Path.Combine(target, Path.GetFileName(file)));
        }
    }

    /// <summary>All files as they were then.</summary>
    public void GoBackTo(string copy)
    {
        foreach (string file in Directory.EnumerateFiles(path))
        {
            File.Delete(file);
        }

        new BackupScene(copy).CopyTo(path);
    }

    /// <summary>A backup's place; those of several disks in one folder differ by the disk's suffix.</summary>
    public string Backup(string name) => Path.Combine(path, name + suffix);

    public Task WriteAsync(params string[] commands) => Qemu.IoOkAsync(Disk, commands);

    public async Task<BackupManifest> TakeAsync(
        string name, BackupOptions options, IProgress<OperationProgress>? progress = null, Action<string>? atStep = null) =>
        (await BackupTaking.RunAsync(
            [new BackupDisk(Disk, Backup(name))], options with { Workers = 1 }, progress, atStep, Token))[0].Manifest;

    public async Task<bool> HasBitmapAsync(string name)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(Disk, cancellationToken: Token);
        return chain.Layers[0].RequireImage().Bitmaps.TryGet(name, out _);
    }

    public async Task<long> DirtyBytesAsync(string name)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(Disk, cancellationToken: Token);
        return await chain.CountDirtyBytesAsync(name, Token);
    }

    public async Task<BackupCheck> VerifyAsync(string name, string since)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(Disk, cancellationToken: Token);
        return await DiskBackup.VerifyAsync(Backup(name), chain, since, cancellationToken: Token);
    }

    /// <summary>Restores a backup, and asserts that it is the disk as it is now, or is not.</summary>
    public async Task AssertRestoresAsync(string name, bool isAsNow = true)
    {
        string target = Backup("restored");
        await DiskBackup.RestoreAsync(Backup(name), target, isRaw: false, cancellationToken: Token);
        if (isAsNow)
        {
            await AssertSameAsync(target, Disk);
        }
        else
        {
            Assert.Equal(1, (await Qemu.ImgAsync("compare", target, Disk)).ExitCode);
        }

        File.Delete(target);
    }

    public static async Task AssertSameAsync(string one, string other) =>
        Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", one, other));

    public string[] Names() =>
        [.. Directory.EnumerateFiles(path).Select(static file => Path.GetFileName(file)!).Order(StringComparer.Ordinal)];
}
