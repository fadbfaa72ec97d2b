using System.Diagnostics;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <content>What administrators do to chains, checkpoints and folders between backups.</content>
internal sealed partial class BackupWorld
{
    /// <summary>
    /// Images between leave the chain: we copy or pull what they have, or QEMU does, which knows nothing of their bitmaps.
    /// </summary>
    private async Task DropBetweenAsync()
    {
        if (_layers.Count < 3)
        {
            return;
        }

        int @base = 2 + Below(_layers.Count - 2);
        string name = Path.GetFileName(_layers[@base]);
        string how = _random.Pick(["pull", "rebase", "qemu-img rebase"]);
        bool isDone = await IsDoneAsync($"{how} to {@base} down", () => how switch
        {
            "pull" => Support.Cli.RunAsync("chain", "pull", Active, "--base", _layers[@base]),
            "rebase" => Support.Cli.RunAsync("chain", "rebase", Active, "-b", name, "-F", "qcow2"),
            _ => Qemu.ImgAsync("rebase", "-f", "qcow2", "-F", "qcow2", "-b", name, Active),
        });
        if (!isDone)
        {
            return;
        }

        for (int index = 1; index < @base; index++)
        {
            File.Delete(_layers[index]);
        }

        _layers.RemoveRange(1, @base - 1);
    }

    /// <summary>The images become one new one, of which no manifest in the folder knows.</summary>
    private async Task FlattenAsync()
    {
        string path = NewFile();
        if (!await IsDoneAsync("flatten", () => Support.Cli.RunAsync("chain", "flatten", Active, path)))
        {
            return;
        }

        _layers.ForEach(File.Delete);
        _layers.Clear();
        _layers.Add(path);
        _previous = _backups.Count > 0 ? Path.Combine(Folder, _backups[^1].Name) : null;
    }

    private async Task QemuCommitAsync()
    {
        if (_layers.Count > 1
            && await IsDoneAsync(
                "qemu-img commit", () => Qemu.ImgAsync("commit", "-q", "-f", "qcow2", "-d", "-b", Path.GetFileName(_layers[1]), Active)))
        {
            File.Delete(Active);
            _layers.RemoveAt(0);
            await ReadSizeAsync();
        }
    }

    /// <summary>
    /// Does something to the chain. Where images have inconsistent bitmaps or internal snapshots much is refused,
    /// and then changes nothing that a guest sees.
    /// </summary>
    private async Task<bool> IsDoneAsync(string what, Func<Task<ProcessResult>> run)
    {
        byte[] before = await RawAsync(Active);
        ProcessResult result = await run();
        Log(result.ExitCode == 0 ? what : $"{what} refused: {result.Error}");
        if (result.ExitCode != 0)
        {
            AssertSame(what, before, await RawAsync(Active));
        }

        return result.ExitCode == 0;
    }

    /// <summary>QEMU is killed while it writes: its bitmaps are in use, and not all that it wrote is there.</summary>
    private async Task CrashAsync()
    {
        (long offset, long length) = Range();
        using Process process = Qemu.Start("qemu-io", null, "-f", "qcow2", Active);
        await process.StandardInput.WriteLineAsync($"write -P {Text(1 + Below(255))} {Text(offset)} {Text(length)}");
        await process.StandardInput.WriteLineAsync("flush");
        await process.StandardInput.WriteLineAsync("length");
        await process.StandardInput.FlushAsync();
        string? line;
        do
        {
            line = await process.StandardOutput.ReadLineAsync(Token);
        }
        while (line is not null && !line.Contains("MiB", StringComparison.Ordinal) && !line.Contains("KiB", StringComparison.Ordinal));
        process.Kill();
        await process.WaitForExitAsync(Token);
        Log($"crash after write {offset} {length}");
    }

    private async Task DeleteCheckpointAsync()
    {
        if (_names.Count < 2)
        {
            return;
        }

        string name = _random.Pick(_names);
        ProcessResult result = await Support.Cli.RunAsync("chain", "delete", Active, name);
        Assert.True(result.ExitCode == 0 || result.Error.Contains("not found in any image", StringComparison.Ordinal), result.Error);
        Log($"delete checkpoint {name}");
        // The name may come again.
        _names.Remove(name);
        _free.Add(name);
    }

    private void MoveFolder()
    {
        string moved = folder.File($"backups{Text(_files++)}");
        Directory.Move(Folder, moved);
        _folder = moved;
        _previous = _previous is null ? null : Path.Combine(moved, Path.GetFileName(_previous));
        Log("move folder");
    }

    /// <summary>Backups are deleted from the newest on: what they alone had is to be missed, or not needed.</summary>
    private void DeleteNewest()
    {
        if (_backups.Count > 1)
        {
            string name = _backups[^1].Name;
            File.Delete(Path.Combine(Folder, name));
            File.Delete(Path.Combine(Folder, BackupPaths.ManifestOf(name)));
            _backups.RemoveAt(_backups.Count - 1);
            _previous = null;
            Log($"delete backup {name}");
        }
    }

    /// <summary>
    /// A backup of mode 'always' fails, the disk goes on, and the same call goes on too; or somebody throws away what there is of it.
    /// </summary>
    private async Task AlwaysAsync()
    {
        var options = new BackupOptions
        {
            Since = _names.Count > 0 ? _random.Pick(_names) : "none",
            Mode = BitmapSyncMode.Always,
            Compress = Below(2) == 0,
            Workers = 1 + Below(3),
        };
        for (int i = Below(4); i >= 0; i--)
        {
            var fuse = new CopyFuse(Below((int)_size), null);
            if (await TryIncrementalAsync(options, i > 0 ? fuse : null))
            {
                return;
            }

            Log("fuse");
            Failures++;
            await (Below(4) switch { 0 => SnapshotAsync(), 1 => WriteOurselvesAsync(), _ => WriteAsync() });
            if (Below(6) == 0)
            {
                DeletePartial();
                return;
            }
        }
    }

    private void DeletePartial()
    {
        foreach (string path in Directory.EnumerateFiles(Folder, "*" + BackupPaths.PartialSuffix))
        {
            File.Delete(path);
        }

        Log("delete what is unfinished");
    }

    private async Task ReadSizeAsync()
    {
        await using ImageChain chain = await ImageChain.OpenAsync(Active, cancellationToken: Token);
        _size = chain.SizeBytes;
    }
}
