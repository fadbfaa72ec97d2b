using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <content>What other tools do to images between backups, and ours that change bitmaps or sizes.</content>
internal sealed partial class BackupWorld
{
    private int _snapshots;

    private Task ToolsAsync() => Below(8) switch
    {
        < 2 => InternalSnapshotAsync(),
        2 => CheckAsync(),
        3 => OurResizeAsync(),
        4 => CommitAndKeepAsync(),
        5 => PlainFullAsync(),
        _ => MendBitmapsAsync(),
    };

    /// <summary>
    /// Takes an internal snapshot, or goes back to one: what that changes no bitmap would tell, so that it is refused where there are any.
    /// </summary>
    private async Task InternalSnapshotAsync()
    {
        string name = _snapshots == 0 || Below(2) == 0 ? $"s{Text(++_snapshots)}" : $"s{Text(1 + Below(_snapshots))}";
        string kind = _random.Pick(["-c", "-a", "-a", "-d"]);
        bool isOurs = Below(2) == 0;
        ProcessResult result = isOurs
            ? await Support.Cli.RunAsync("snapshot", kind, name, Active)
            : await Qemu.ImgAsync(["snapshot", kind, name, Active]);
        Log($"{(isOurs ? "our" : "qemu-img")} snapshot {kind} {name}: {result.ExitCode} {result.Error}");
        await ReadSizeAsync();
    }

    private async Task CheckAsync()
    {
        bool isOurs = Below(2) == 0;
        string path = _random.Pick([.. _layers]);
        ProcessResult result = isOurs
            ? await Support.Cli.RunAsync("check", "-r", "all", path)
            : await Qemu.ImgAsync(["check", "-q", "-r", "all", path]);
        Assert.True(result.ExitCode is 0 or 3, result.Error);
        Log($"{(isOurs ? "our" : "qemu-img")} check -r all: {result.ExitCode}");
    }

    private async Task OurResizeAsync()
    {
        bool shrinks = _layers.Count == 1 && _size > 256 * Sector && Below(2) == 0;
        long size = shrinks ? Sector * (128L + Below((int)(_size / Sector) - 128)) : _size + (Sector * (1L + Below(1024)));
        ProcessResult result = await Support.Cli.RunAsync(
            ["resize", .. shrinks ? ["--shrink"] : Array.Empty<string>(), Active, Text(size)]);
        Log($"our resize from {_size} to {size}: {result.ExitCode} {result.Error}");
        // What is gained is called dirty, so that nothing has to be kept in mind.
        _isCut |= shrinks && result.ExitCode == 0;
        await ReadSizeAsync();
    }

    /// <summary>Commits the top image, which stays.</summary>
    private async Task CommitAndKeepAsync()
    {
        if (_layers.Count > 1)
        {
            bool isOurs = Below(2) == 0;
            ProcessResult result = isOurs ? await Support.Cli.RunAsync("commit", Active) : await Qemu.ImgAsync(["commit", "-q", Active]);
            Log($"{(isOurs ? "our" : "qemu-img")} commit that keeps: {result.ExitCode} {result.Error}");
            await ReadSizeAsync();
        }
    }

    /// <summary>
    /// A checkpoint that QEMU makes just before a full backup, which knows nothing of it: no backup is built on that by it.
    /// </summary>
    private async Task PlainFullAsync()
    {
        string name = $"q{Text(_files++)}";
        ProcessResult result = await Qemu.ImgAsync(["bitmap", "--add", Active, name]);
        Log($"qemu-img bitmap --add {name}: {result.ExitCode}");
        await TakeAsync(new BackupOptions());
        if (result.ExitCode == 0)
        {
            Exception? refused = await Record.ExceptionAsync(() => TakeAsync(new BackupOptions { Since = name }));
            Assert.True(
                refused is BackupException && refused.Message.Contains("has no backup", StringComparison.Ordinal), refused?.ToString());
        }
    }

    /// <summary>
    /// Administrators' commands for bitmaps: removes what is not valid, or rebuilds it, though it may be needed or valid.
    /// </summary>
    private async Task MendBitmapsAsync()
    {
        string name = _names.Count > 0 ? _random.Pick(_names) : "none";
        string[] arguments = Below(4) switch
        {
            0 => ["chain", "prune", Active],
            1 => ["chain", "reconcile", Active, "--expect", name, "--drop"],
            2 => ["chain", "populate", Active, name, "--all-dirty"],
            _ => ["chain", "populate", Active, name],
        };
        ProcessResult result = await Support.Cli.RunAsync(arguments);
        Log($"{string.Join(' ', arguments)}: {result.ExitCode} {result.Error}");
    }
}
