using System.Globalization;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>
/// Two disks over one template, whose backups lie in one folder and whose checkpoints have the same names: they are backed up together,
/// at the same time or one by one; some fail.
/// </summary>
internal sealed class CloneWorld(TempFolder folder, int seed)
{
    private const int Sector = 512;
    private const int Disks = 2;
    private const int SizeBytes = 1 << 20;

    private readonly SplitMix _random = new((ulong)seed);
    private readonly List<string> _log = [];
    private readonly string[] _tops = new string[Disks];
    // So few that they come again.
    private readonly string[] _names = ["c0", "c1", "c2"];
    // The checkpoint of the last backup of each.
    private readonly string?[] _last = new string?[Disks];
    private readonly List<(string Name, int Disk, byte[] Content)> _backups = [];
    private int _files;

    /// <summary>How many backups were restored that stand on others.</summary>
    public int Incrementals { get; private set; }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Template => folder.File("template.qcow2");

    public override string ToString() => string.Join('\n', _log);

    public async Task StartAsync()
    {
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", Template, Text(SizeBytes));
        await Qemu.IoOkAsync(Template, "write -P 1 0 600k");
        bool isMarked = Below(2) == 0;
        if (isMarked)
        {
            await TakeAsync([Template], [0], new BackupOptions { Checkpoint = "c0" });
            _backups.Clear();
        }

        Log($"template with a backup: {isMarked}");
        for (int disk = 0; disk < Disks; disk++)
        {
            _tops[disk] = NewFile();
            await using ImageChain chain = await ImageChain.OpenAsync(Template, cancellationToken: Token);
            await new ChainSnapshot(chain, _tops[disk]).RunAsync(cancellationToken: Token);
            await WriteAsync(disk);
        }
    }

    public Task StepAsync() => Below(20) switch
    {
        < 6 => WriteAsync(Below(Disks)),
        < 7 => SnapshotAsync(Below(Disks)),
        < 8 => CommitAsync(Below(Disks)),
        < 9 => DeleteNewestAsync(),
        < 11 => DeleteCheckpointAsync(Below(Disks)),
        < 12 => SpoilAsync(Below(Disks)),
        < 15 => BackUpAsync([0, 1]),
        < 17 => Task.WhenAll(BackUpAsync([0]), BackUpAsync([1])),
        _ => BackUpAsync([Below(Disks)]),
    };

    /// <summary>Restores all backups, and compares.</summary>
    public async Task EndAsync()
    {
        foreach ((string name, int disk, byte[] content) in _backups)
        {
            string target = folder.File("restored");
            StoredBackup restored = await DiskBackup.RestoreAsync(Place(name), target, isRaw: true, cancellationToken: Token);
            byte[] found = await File.ReadAllBytesAsync(target, Token);
            Assert.True(
                content.AsSpan().SequenceEqual(found),
                $"{name} differs from disk {disk} at byte {content.AsSpan().CommonPrefixLength(found)}");
            File.Delete(target);
            Incrementals += restored.Manifest.IsFull ? 0 : 1;
        }
    }

    private async Task WriteAsync(int disk)
    {
        string[] commands = [.. Enumerable.Range(0, 1 + Below(3)).Select(_ =>
        {
            long first = Below(SizeBytes / Sector);
            string range = $"{Text(first * Sector)} {Text(Math.Min(SizeBytes - (first * Sector), Sector * (1L + Below(200))))}";
            return Below(4) == 0 ? $"write -z {range}" : $"write -P {Text(1 + Below(255))} {range}";
        })];
        Log($"{disk}: {string.Join(", ", commands)}");
        await Qemu.IoOkAsync(_tops[disk], commands);
    }

    private async Task SnapshotAsync(int disk)
    {
        string path = NewFile();
        await using ImageChain chain = await ImageChain.OpenAsync(_tops[disk], cancellationToken: Token);
        if (chain.Layers.Count < 4)
        {
            await new ChainSnapshot(chain, path).RunAsync(cancellationToken: Token);
            _tops[disk] = path;
            Log($"{disk}: snapshot");
        }
    }

    private async Task CommitAsync(int disk)
    {
        string below;
        await using (ImageChain chain = await ImageChain.OpenAsync(_tops[disk], cancellationToken: Token))
        {
            // The template is not one's own.
            if (chain.Layers.Count < 3)
            {
                return;
            }

            below = chain.Layers[1].Path;
        }

        ProcessResult result = await Support.Cli.RunAsync("chain", "commit", _tops[disk], below);
        Assert.True(result.ExitCode == 0, result.Error);
        _tops[disk] = below;
        Log($"{disk}: commit");
    }

    private Task DeleteNewestAsync()
    {
        if (_backups.Count > 2 && Below(2) == 0)
        {
            string name = _backups[^1].Name;
            File.Delete(Place(name));
            File.Delete(BackupPaths.ManifestOf(Place(name)));
            _backups.RemoveAt(_backups.Count - 1);
            Log($"delete backup {name}");
        }

        return Task.CompletedTask;
    }

    private async Task DeleteCheckpointAsync(int disk)
    {
        string name = Pick(_names);
        ProcessResult result = await Support.Cli.RunAsync("bitmap", "--remove", _tops[disk], name);
        Log($"{disk}: delete {name} in {Path.GetFileName(_tops[disk])}: {result.ExitCode}");
    }

    /// <summary>An overlay without bitmaps: those of the disk are invalid from then on.</summary>
    private async Task SpoilAsync(int disk)
    {
        string path = NewFile();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", _tops[disk], "-F", "qcow2", path);
        _tops[disk] = path;
        Log($"{disk}: overlay without bitmaps");
        await WriteAsync(disk);
    }

    private async Task BackUpAsync(int[] disks)
    {
        string? since = Below(4) == 0 ? null : Below(3) > 0 ? _last[disks[^1]] : Pick(_names);
        string? checkpoint = since is null || Below(3) > 0 ? Pick([.. _names.Where(name => name != since)]) : null;
        BitmapSyncMode mode = since is not null && Below(3) == 0
            ? disks.Length == 1 && checkpoint is null
            ? BitmapSyncMode.Always
            : BitmapSyncMode.Never
            : BitmapSyncMode.OnSuccess;
        var options = new BackupOptions
        {
            Since = since,
            Checkpoint = checkpoint,
            Mode = mode,
            Fallback = since is null ? BackupFallback.None : (BackupFallback)Below(3),
            Workers = 1,
        };
        CopyFuse? fuse = Below(4) == 0 ? new CopyFuse(Below(disks.Length * SizeBytes), null) : null;
        try
        {
            await TakeAsync([.. disks.Select(disk => _tops[disk])], disks, options, fuse);
        }
        catch (Exception e)
            when (e is BitmapStateException or BackupException or IOException { Message: "The fuse has blown" } or ImageLockedException
                || e.Message.StartsWith("Bitmap '", StringComparison.Ordinal))
        {
            Log($"{string.Join('+', disks)} since {since} checkpoint {checkpoint} {mode}: {e.GetType().Name} {e.Message}");
            if (mode == BitmapSyncMode.Always && fuse is { HasBlown: true })
            {
                await AgainAsync(disks, options);
            }
        }
    }

    /// <summary>What failed is gone on with at once, or later, or never.</summary>
    private async Task AgainAsync(int[] disks, BackupOptions options)
    {
        string target = Directory.EnumerateFiles(folder.Path, $"b*-{disks[0]}" + BackupPaths.PartialSuffix).Order(StringComparer.Ordinal)
            .LastOrDefault()
            ?? "";
        if (target.Length > 0 && Below(3) > 0)
        {
            await WriteAsync(disks[0]);
            string name = Path.GetFileName(target[..^BackupPaths.PartialSuffix.Length]);
            try
            {
                await TakeAsync([_tops[disks[0]]], disks, options, null, [name]);
            }
            catch (Exception e) when (e is BitmapStateException or BackupException)
            {
                Log($"{name} again: {e.Message}");
            }
        }
    }

    private async Task TakeAsync(string[] tops, int[] disks, BackupOptions options, CopyFuse? fuse = null, string[]? names = null)
    {
        int number;
        lock (_log)
        {
            number = _files++;
        }

        names ??= [.. disks.Select(disk => $"b{number:D3}-{disk}")];
        byte[][] contents = await Task.WhenAll(tops.Select(RawAsync));
        IReadOnlyList<StoredBackup> results = await DiskBackup.TakeAsync(
            [.. tops.Select((top, i) => new BackupDisk(top, Place(names[i])))], options, fuse, Token);
        for (int i = 0; i < names.Length; i++)
        {
            BackupManifest manifest = results[i].Manifest;
            Log(
                $"{names[i]} since {options.Since} checkpoint {options.Checkpoint} {options.Mode} on "
                + $"{(manifest.IsFull ? "nothing" : manifest.Parents[0].Manifest)} fallback {manifest.Fallback}");
            lock (_log)
            {
                _backups.Add((names[i], disks[i], contents[i]));
                _last[disks[i]] = options.Checkpoint ?? _last[disks[i]];
            }
        }
    }

    private async Task<byte[]> RawAsync(string path)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(path, cancellationToken: Token);
        byte[] bytes = new byte[chain.SizeBytes];
        await chain.ReadAsync(0, bytes, Token);
        return bytes;
    }

    private string Place(string name) => folder.File(name);

    private string NewFile() => folder.File($"disk{_files++}.qcow2");

    private string Pick(string[] names) => names[Below(names.Length)];

    private int Below(int bound)
    {
        lock (_log)
        {
            return _random.Below(bound);
        }
    }

    private void Log(string what)
    {
        lock (_log)
        {
            _log.Add(what);
        }
    }

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);
}
