using System.Globalization;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>A disk that QEMU and we change at random, of which backups are taken; and what the guest saw at the point of each.</summary>
internal sealed partial class BackupWorld(TempFolder folder, int seed)
{
    private const int Sector = 512;
    private const int MaxLayers = 4;
    private const int MaxBytes = 3 << 20;

    private readonly SplitMix _random = new((ulong)seed);
    private readonly List<string> _log = [];
    // Paths, top first.
    private readonly List<string> _layers = [];
    private readonly List<string> _names = [];
    private readonly List<(string Name, byte[] Content)> _backups = [];
    // Names of checkpoints that were deleted.
    private readonly List<string> _free = [];
    private string? _folder;
    // The backup that the next one is told to build on, where it could not know.
    private string? _previous;
    private int _taken;
    private int _files;
    private long _size;
    // What was cut off and not backed up since: growing would bring zeros that no bitmap tells of.
    private bool _isCut;

    /// <summary>How many backups were restored that stand on others.</summary>
    public int Incrementals { get; private set; }

    /// <summary>How many backups were restored.</summary>
    public int Restores { get; private set; }

    /// <summary>How many backups failed in the middle, and were gone on with or given up.</summary>
    public int Failures { get; private set; }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Active => _layers[0];

    private string Folder => _folder ??= folder.File("backups");

    public override string ToString() => string.Join('\n', _log);

    public async Task StartAsync()
    {
        Directory.CreateDirectory(Folder);
        _size = Sector * (128L + Below((MaxBytes / Sector) - 128));
        _layers.Add(NewFile());
        string options = _random.Pick(
            [
                "cluster_size=64k",
                "cluster_size=4k",
                "cluster_size=512",
                "cluster_size=128k,extended_l2=on",
                "cluster_size=2M",
                $"cluster_size=64k,data_file={folder.File("disk0.data")}",
            ]);
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", options, Active, Text(_size));
        Log($"create {options} {_size}");
        await WriteAsync();
        await FullAsync();
    }

    public Task StepAsync() => Below(120) switch
    {
        >= 100 => ToolsAsync(),
        < 22 => WriteAsync(),
        < 32 => WriteOurselvesAsync(),
        < 42 => SnapshotAsync(),
        < 46 => CommitAsync(),
        < 48 => QemuCommitAsync(),
        < 52 => DropBetweenAsync(),
        < 54 => FlattenAsync(),
        < 61 => ResizeAsync(),
        < 62 => DiscardAsync(),
        < 63 => ForeignOverlayAsync(),
        < 65 => CrashAsync(),
        < 66 => DeleteCheckpointAsync(),
        < 67 => Done(MoveFolder),
        < 68 => Done(DeleteNewest),
        < 76 => AlwaysAsync(),
        < 80 => FullAsync(),
        _ => IncrementalAsync(),
    };

    /// <summary>Restores all backups, and compares.</summary>
    public async Task EndAsync()
    {
        foreach ((string name, byte[] content) in _backups)
        {
            string manifest = Path.Combine(Folder, name);
            bool isQcow2 = Below(2) == 0;
            string target = folder.File("restored");
            StoredBackup restored = await DiskBackup.RestoreAsync(manifest, target, !isQcow2, cancellationToken: Token);
            AssertSame(manifest, content, isQcow2 ? await RawAsync(target) : await File.ReadAllBytesAsync(target, Token));
            File.Delete(target);
            // QEMU reads the chain of the backups as it stands.
            AssertSame(manifest, content, await RawAsync(restored.ImagePath, restored.Manifest.ImageFormat));
            Assert.True((await DiskBackup.VerifyAsync(manifest, cancellationToken: Token)).IsGood, manifest);
            Restores++;
            Incrementals += restored.Manifest.IsFull ? 0 : 1;
        }
    }

    private async Task WriteAsync()
    {
        var commands = new List<string>();
        for (int i = 1 + Below(4); i > 0; i--)
        {
            (long offset, long length) = Range();
            commands.Add(Below(6) switch
            {
                0 => $"write -z {Text(offset)} {Text(length)}",
                1 => $"write -z -u {Text(offset)} {Text(length)}",
                2 => $"discard {Text(offset)} {Text(length)}",
                _ => $"write -P {Text(1 + Below(255))} {Text(offset)} {Text(length)}",
            });
        }

        Log(string.Join(", ", commands));
        await Qemu.IoOkAsync(Active, [.. commands]);
    }

    private async Task WriteOurselvesAsync()
    {
        await using ImageChain chain = await ImageChain.OpenAsync(Active, new ChainOpenOptions { WritableLayers = [0] }, Token);
        await using Disk writer = await chain.OpenWriterAsync(Token);
        (long offset, long length) = Range();
        int kind = Below(3);
        Log($"our write of kind {kind} {offset} {length}");
        switch (kind)
        {
            case 0:
                await writer.WriteZerosAsync(offset, length, mayUnmap: true, Token);
                break;
            case 1:
                await writer.DiscardAsync(offset, length, Token);
                break;
            default:
                var bytes = new byte[length];
                Array.Fill(bytes, (byte)(1 + Below(255)));
                await writer.WriteAsync(offset, bytes, Token);
                break;
        }
    }

    private async Task SnapshotAsync()
    {
        if (_layers.Count < MaxLayers)
        {
            string path = NewFile();
            await using (ImageChain chain = await ImageChain.OpenAsync(Active, cancellationToken: Token))
            {
                await new ChainSnapshot(chain, path).RunAsync(cancellationToken: Token);
            }

            _layers.Insert(0, path);
            Log("snapshot");
        }
    }

    /// <summary>An overlay as users make them, without bitmaps: all are invalid from then on.</summary>
    private async Task ForeignOverlayAsync()
    {
        if (_layers.Count < MaxLayers)
        {
            string path = NewFile();
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", Path.GetFileName(Active), "-F", "qcow2", path);
            _layers.Insert(0, path);
            Log("overlay without bitmaps");
        }
    }

    /// <summary>Goes back to what the image below has.</summary>
    private async Task DiscardAsync()
    {
        if (_layers.Count > 1)
        {
            File.Delete(Active);
            _layers.RemoveAt(0);
            await ReadSizeAsync();
            Log("discard");
        }
    }

    private async Task CommitAsync()
    {
        if (_layers.Count > 1)
        {
            int @base = 1 + Below(_layers.Count - 1);
            if (await IsDoneAsync($"commit {@base} down", () => Support.Cli.RunAsync("chain", "commit", Active, _layers[@base])))
            {
                _layers.RemoveRange(0, @base);
            }
        }
    }

    private async Task ResizeAsync()
    {
        bool shrinks = _layers.Count == 1 && _size > 256 * Sector && Below(3) == 0;
        long size = shrinks ? Sector * (128L + Below((int)(_size / Sector) - 128)) : _size + (Sector * (1L + Below(1024)));
        if (!shrinks && _isCut)
        {
            return;
        }

        ProcessResult result = await Qemu.ImgAsync(
            ["resize", "-q", "-f", "qcow2", .. shrinks ? ["--shrink"] : Array.Empty<string>(), Active, Text(size)]);
        if (result.ExitCode != 0)
        {
            Assert.Contains("is inconsistent and cannot be used", result.Error, StringComparison.Ordinal);
            return;
        }

        Log($"resize from {_size} to {size}");
        _isCut |= shrinks;
        _size = size;
    }

    private async Task FullAsync()
    {
        bool isRaw = Below(4) == 0;
        string name = NewName();
        await TakeAsync(new BackupOptions { Checkpoint = name, IsRaw = isRaw, Compress = !isRaw && Below(3) == 0, Workers = 1 + Below(3) });
        _names.Add(name);
    }

    private async Task IncrementalAsync()
    {
        string since = Below(3) > 0 ? _names[^1] : _random.Pick(_names);
        bool starts = Below(3) > 0;
        var options = new BackupOptions
        {
            Since = since,
            Checkpoint = starts ? NewName() : null,
            Mode = Below(2) == 0 ? BitmapSyncMode.OnSuccess : BitmapSyncMode.Never,
            Fallback = Below(2) == 0 ? BackupFallback.Populate : BackupFallback.Full,
            Compress = Below(4) == 0,
            Workers = 1 + Below(3),
        };
        if (await TryIncrementalAsync(options, null) && starts && !_names.Contains(options.Checkpoint!))
        {
            _names.Add(options.Checkpoint!);
        }
    }

    /// <summary>Takes an incremental backup; where that is refused for a reason, a full one.</summary>
    /// <returns>Whether the fuse has not blown.</returns>
    private async Task<bool> TryIncrementalAsync(BackupOptions options, CopyFuse? fuse)
    {
        try
        {
            await TakeAsync(options, fuse);
            return true;
        }
        catch (IOException) when (fuse is { HasBlown: true })
        {
            return false;
        }
        catch (Exception e)
            when (e is BitmapStateException
                || (e is BackupException
                    && (e.Message.Contains("has no backup", StringComparison.Ordinal)
                        || e.Message.Contains("full backup", StringComparison.Ordinal))))
        {
            Log($"refused: {e.Message}");
            Assert.True(options.Fallback != BackupFallback.Full || e is BackupException, e.ToString());
            DeletePartial();
            await FullAsync();
            return true;
        }
    }

    private async Task TakeAsync(BackupOptions options, CopyFuse? fuse = null)
    {
        byte[] content = await RawAsync(Active);
        string name = $"b{Text(_taken)}";
        string target = Path.Combine(Folder, name);
        string? previous = options.Since is null ? null : _previous;
        IReadOnlyList<StoredBackup> results = await DiskBackup.TakeAsync([new BackupDisk(Active, target, previous)], options, fuse, Token);
        BackupManifest manifest = results[0].Manifest;
        Log(
            $"backup {name} since {options.Since} checkpoint {options.Checkpoint} {options.Mode} on "
            + $"{(manifest.IsFull ? "nothing" : manifest.Parents[0].Manifest)} fallback {manifest.Fallback}");
        _taken++;
        _previous = null;
        _backups.Add((name, content));
        _isCut = false;
        foreach (string anchor in manifest.Anchors)
        {
            await using ImageChain disk = await ImageChain.OpenAsync(Active, cancellationToken: Token);
            BackupCheck check = await DiskBackup.VerifyAsync(target, disk, anchor, cancellationToken: Token);
            Assert.True(
                check.IsGood && check.ComparedBytes == _size,
                $"{target} {anchor}: differs at {check.FirstDifferenceOffsetBytes}, {check.ComparedBytes} bytes compared");
        }
    }

    private async Task<byte[]> RawAsync(string path, string format = "qcow2")
    {
        string raw = folder.File("disk.raw");
        await Qemu.ImgOkAsync("convert", "-f", format, "-O", "raw", path, raw);
        return await File.ReadAllBytesAsync(raw, Token);
    }

    private static void AssertSame(string what, byte[] expected, byte[] found)
    {
        Assert.Equal(expected.Length, found.Length);
        int same = expected.AsSpan().CommonPrefixLength(found);
        Assert.True(
            same == expected.Length,
            $"{what} differs from the disk at byte {same}: {(same < expected.Length ? found[same] : 0)}, "
            + $"not {(same < expected.Length ? expected[same] : 0)}");
    }

    private (long Offset, long Length) Range()
    {
        long first = (long)(_random.Next() % (ulong)(_size / Sector));
        return (first * Sector, Math.Min(_size - (first * Sector), Sector * (1L + Below(512))));
    }

    private string NewFile() => folder.File($"disk{Text(_files++)}.qcow2");

    private string NewName()
    {
        if (_free.Count == 0 || Below(2) == 0)
        {
            return $"c{Text(_files++)}";
        }

        string name = _free[^1];
        _free.RemoveAt(_free.Count - 1);
        return name;
    }

    private static Task Done(Action step)
    {
        step();
        return Task.CompletedTask;
    }

    private int Below(int bound) => _random.Below(bound);

    private void Log(string what) => _log.Add(what);

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);
}
