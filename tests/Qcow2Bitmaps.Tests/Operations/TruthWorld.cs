using System.Globalization;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>A chain of files that QEMU's tools and our operations change at random, and what the guest saw when each checkpoint was taken.</summary>
internal sealed class TruthWorld(TempFolder folder, int seed)
{
    private const int Sector = 512;
    private const int MaxLayers = 6;

    private static readonly string[] s_names = ["a", "b", "c"];

    private readonly SplitMix _random = new((ulong)seed);
    private readonly List<string> _log = [];
    // Paths, top first.
    private readonly List<string> _layers = [];
    private readonly Dictionary<string, byte[]> _checkpoints = new(StringComparer.Ordinal);
    private int _files;
    private byte[]? _content;

    /// <summary>How often a valid bitmap was compared with the truth.</summary>
    public int Comparisons { get; private set; }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Active => _layers[0];

    public override string ToString() => string.Join('\n', _log);

    /// <summary>Makes the first image.</summary>
    public async Task StartAsync()
    {
        long size = RandomSize();
        if (Below(6) == 0)
        {
            string raw = folder.File("base.raw");
            Log($"raw base of {size} bytes");
            await File.WriteAllBytesAsync(raw, [.. Enumerable.Range(0, (int)size).Select(static i => (byte)(i / 16384 % 3 == 1 ? 0 : 1 + (i % 251)))], Token);
            _layers.Add(raw);
            await OverlayAsync(size);
        }
        else
        {
            _layers.Add(NewFile());
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", RandomOptions(mayBeOld: false), Active, Text(size));
            Log($"create {Path.GetFileName(Active)} {size}");
        }

        await WriteAsync(crash: false);
        await AddAsync("a");
    }

    /// <summary>Does one thing at random.</summary>
    public Task StepAsync()
    {
        int kind = Below(100);
        string name = _random.Pick(s_names);
        if (_layers.Count == MaxLayers && kind is >= 52 and < 72)
        {
            kind = 81 + Below(19);
        }

        return kind switch
        {
            < 24 => WriteAsync(crash: false),
            < 30 => WriteAsync(crash: true),
            < 34 => ResizeAsync(),
            < 42 => AddAsync(name),
            < 44 => ClearAsync(name),
            < 46 => BitmapAsync("--disable", name),
            < 47 => EnableAsync(name),
            < 49 => BitmapAsync("--remove", name),
            < 52 => OurAsync($"delete {name}", () => DeleteAsync(name)),
            < 55 => GapAsync(name),
            < 59 => OverlayAsync(null),
            < 72 => OurAsync("snapshot", SnapshotAsync),
            < 81 => OurAsync($"populate {name}", () => PopulateAsync(name)),
            < 86 => PullAsync(),
            < 90 => RebaseAsync(),
            _ => CommitAsync(),
        };
    }

    /// <summary>Makes a gap, and has images leave the chain from below the active one.</summary>
    public async Task StepBelowAsync()
    {
        if (Below(3) == 0)
        {
            await OurAsync("snapshot", SnapshotAsync);
        }

        await GapAsync("a");
        await WriteAsync(crash: false);
        if (Below(3) == 0)
        {
            await OurAsync("snapshot", SnapshotAsync);
        }

        await (Below(4) switch
        {
            0 => RebaseAsync(),
            1 => CommitAsync(),
            _ => PullAsync(),
        });
    }

    /// <summary>Looks at all once more.</summary>
    public async Task EndAsync()
    {
        Log("end");
        await CheckAsync();
        await CompareAsync();
    }

    private async Task WriteAsync(bool crash)
    {
        long size = await SizeAsync();
        int cluster = 65536;
        var commands = new List<string>();
        for (int i = 1 + Below(4); i > 0; i--)
        {
            long first = (long)(_random.Next() % (ulong)(size / Sector));
            long length = Math.Min(size - (first * Sector), Sector * (1L + Below(3 * cluster / Sector)));
            long offset = first * Sector;
            commands.Add(Below(8) switch
            {
                0 => $"write -z {Text(offset)} {Text(length)}",
                1 => $"write -z -u {Text(offset)} {Text(length)}",
                2 => $"discard {Text(offset)} {Text(length)}",
                _ => $"write -P {Text(1 + Below(255))} {Text(offset)} {Text(length)}",
            });
        }

        _content = null;
        Log($"{(crash ? "crash after " : "")}{string.Join(", ", commands)}");
        if (!crash)
        {
            await Qemu.IoOkAsync(Active, [.. commands]);
            return;
        }

        commands.AddRange(["flush", "sigraise 9"]);
        ProcessResult result = await Qemu.RunAsync("qemu-io", null, ["-f", "qcow2", "-d", "unmap", .. commands.SelectMany(static c => new[] { "-c", c }), Active]);
        Assert.True(result.ExitCode == 128 + 9, $"qemu-io: {result.ExitCode} {result.Error}");
        // QEMU leaves clusters behind that nothing uses.
        await Qemu.ImgAsync("check", "-q", "-r", "leaks", QemuBitmaps.WithoutBacking(Active));
    }

    private async Task ResizeAsync()
    {
        await using (ImageChain chain = await ImageChain.OpenAsync(Active, cancellationToken: Token))
        {
            if (chain.Layers.Any(layer => layer.VirtualSizeBytes > chain.Layers[0].VirtualSizeBytes))
            {
                // QEMU makes zeros of what a longer image below would show now, and records that in no bitmap.
                _checkpoints.Clear();
            }
        }

        long size = await SizeAsync() + (Sector * (1L + Below(1024)));
        ProcessResult result = await Qemu.ImgAsync("resize", "-q", "-f", "qcow2", Active, Text(size));
        Log($"resize to {size}{Outcome(result)}");
        _content = null;
    }

    private async Task AddAsync(string name)
    {
        byte[] content = await ContentAsync();
        if (await BitmapAsync("--add", name, "-g", Text(512 << Below(8))))
        {
            _checkpoints[name] = content;
        }
    }

    private async Task ClearAsync(string name)
    {
        byte[] content = await ContentAsync();
        bool isRecording = await StateAsync(name) == BitmapState.Recording;
        if (await BitmapAsync("--clear", name) && isRecording)
        {
            _checkpoints[name] = content;
        }
    }

    private async Task EnableAsync(string name)
    {
        bool wasDisabled = await StateAsync(name) == BitmapState.Disabled;
        if (await BitmapAsync("--enable", name) && wasDisabled)
        {
            // What was written meanwhile is in no bitmap: from now on it is the user who says that there was nothing.
            _checkpoints.Remove(name);
        }
    }

    private async Task<bool> BitmapAsync(string action, string name, params string[] options)
    {
        ProcessResult result = await Qemu.ImgAsync(["bitmap", action, .. options, "-f", "qcow2", Active, name]);
        Log($"bitmap {action} {string.Join(' ', options)} {name}{Outcome(result)}");
        return result.ExitCode == 0;
    }

    private async Task<BitmapState?> StateAsync(string name)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(Active, cancellationToken: Token);
        return image.Bitmaps.TryGet(name, out BitmapInfo? bitmap) ? bitmap.State : null;
    }

    /// <summary>An overlay as users make them: no bitmaps, and now and then another size.</summary>
    private async Task OverlayAsync(long? size)
    {
        if (_layers.Count == MaxLayers)
        {
            return;
        }

        size ??= Below(4) == 0 ? RandomSize() : null;
        string path = NewFile();
        string options = RandomOptions(mayBeOld: _layers.Count > 1);
        await Qemu.ImgOkAsync(
            ["create", "-q", "-f", "qcow2", "-o", options, "-b", Path.GetFileName(Active), "-F", FormatOf(Active), path, .. size is { } s ? [Text(s)] : Array.Empty<string>()]);
        _layers.Insert(0, path);
        Log($"create {Path.GetFileName(path)} {options} {size}");
        _content = null;
    }

    /// <summary>An overlay that does not record, and one that does again: what was written between is in no bitmap, so that the checkpoint stays and the bitmap is not valid.</summary>
    private async Task GapAsync(string name)
    {
        if (_layers.Count > MaxLayers - 2 || await StateAsync(name) != BitmapState.Recording)
        {
            return;
        }

        await OverlayAsync(null);
        await WriteAsync(crash: false);
        await OverlayAsync(null);
        await BitmapAsync("--add", name, "-g", Text(512 << Below(8)));
    }

    private async Task SnapshotAsync()
    {
        string path = NewFile();
        await using (ImageChain chain = await ImageChain.OpenAsync(Active, cancellationToken: Token))
        {
            await ChainSnapshot.CreateAsync(chain, path, cancellationToken: Token);
        }

        _layers.Insert(0, path);
    }

    private async Task DeleteAsync(string name)
    {
        await using ImageChain chain = await ChainAccess.OpenAsync(Active, ChainOpenOptions.Default, chain => ChainBitmaps.Holders(chain, [name]), Token);
        if (!ChainBitmaps.Holders(chain, [name]).Any())
        {
            await Assert.ThrowsAsync<BitmapStateException>(async () => await ChainBitmaps.DeleteAsync(chain, [name], Token));
            return;
        }

        await ChainBitmaps.DeleteAsync(chain, [name], Token);
        _checkpoints.Remove(name);
        Assert.Empty(ChainBitmaps.Holders(chain, [name]));
    }

    private async Task PopulateAsync(string name)
    {
        bool allDirty = false;
        while (true)
        {
            try
            {
                await using ImageChain chain = await ChainAccess.OpenAsync(Active, ChainOpenOptions.Default, async chain => ChainBitmaps.Holders(chain, [name]).Any() ? await ChainPopulate.FindImagesAsync(chain, name, Token) : [], Token);
                // No image is emptied here: what each was born with is there.
                await ChainPopulate.RunAsync(chain, name, allDirty, trustsBirth: true, Token);
                Log("  done");
                break;
            }
            catch (BitmapStateException e)
            {
                Log($"  refused: {e.Message}");
                if (allDirty || Below(2) == 0)
                {
                    return;
                }

                allDirty = true;
            }
        }

        await using ImageChain populated = await ImageChain.OpenAsync(Active, cancellationToken: Token);
        BitmapVerdict verdict = await populated.JudgeBitmapAsync(name, cancellationToken: Token);
        Assert.True(verdict.IsValid, verdict.ToString());
    }

    private async Task CommitAsync()
    {
        if (_layers.Count == 1)
        {
            return;
        }

        int top = Below(_layers.Count - 1);
        int target = top + 1 + Below(_layers.Count - top - 1);
        bool dropBitmaps = Below(2) == 0;
        if (top == 0 && FormatOf(_layers[target]) == "raw")
        {
            // Raw files are not written here.
            return;
        }

        await OurAsync($"commit {Path.GetFileName(_layers[top])} into {Path.GetFileName(_layers[target])}{(dropBitmaps ? " dropping bitmaps" : "")}", async () =>
        {
            await using (ImageChain chain = await ChainAccess.OpenAsync(Active, ChainOpenOptions.Default, _ => ChainCommit.WritableLayers(top, target), Token))
            {
                try
                {
                    ChainResult result = await ChainCommit.RunAsync(chain, top, target, new CommitOptions { DropBitmaps = dropBitmaps }, cancellationToken: Token);
                    _log.AddRange(result.Bitmaps.Select(static change => $"  {change}"));
                }
                catch (BitmapStateException e)
                {
                    Log($"  refused: {e.Message}");
                    return;
                }
            }

            Drop(top, target);
        }, mayDrop: dropBitmaps, mayGrow: top == 0);
    }

    private async Task PullAsync()
    {
        int top = RandomTop();
        int end = top + 1 + Below(_layers.Count - top);
        GapPolicy gaps = Below(3) == 0 ? GapPolicy.Disable : GapPolicy.Mark;
        await OurAsync($"pull into {Path.GetFileName(_layers[top])} down to {(end == _layers.Count ? "none" : Path.GetFileName(_layers[end]))}, {gaps}", async () =>
        {
            await using (ImageChain chain = await ChainAccess.OpenAsync(Active, ChainOpenOptions.Default, chain => ChainRebase.WritableLayers(chain, top), Token))
            {
                try
                {
                    ChainResult result = await ChainRebase.PullAsync(chain, end == _layers.Count ? null : end, new RebaseOptions { Top = top, Gaps = gaps }, cancellationToken: Token);
                    _log.AddRange(result.Bitmaps.Select(static change => $"  {change}"));
                }
                catch (BitmapStateException e) when (chain.Layers[top].Image!.Header.Version < 3)
                {
                    Log($"  refused: {e.Message}");
                    return;
                }
            }

            Drop(top + 1, end);
        });
    }

    private async Task RebaseAsync()
    {
        int top = RandomTop();
        int end = top + 1 + Below(_layers.Count - top);
        GapPolicy gaps = Below(3) == 0 ? GapPolicy.Disable : GapPolicy.Mark;
        string? backing = end == _layers.Count ? null : _layers[end];
        bool isOther = backing is null && Below(2) == 0;
        bool isOld = false;
        if (isOther)
        {
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", RandomOptions(mayBeOld: true), backing = NewFile(), Text(RandomSize()));
            await Qemu.IoOkAsync(backing, "write -P 77 100k 300k", "write -P 78 800k 64k");
            if (Below(2) == 0)
            {
                await Qemu.ImgAsync("bitmap", "--add", backing, "a");
            }
        }

        await OurAsync($"rebase {Path.GetFileName(_layers[top])} onto {(isOther ? "another " : "")}{Path.GetFileName(backing)}, {gaps}", async () =>
        {
            try
            {
                await using ImageChain chain = await ChainAccess.OpenAsync(Active, ChainOpenOptions.Default, chain => ChainRebase.WritableLayers(chain, top), Token);
                isOld = chain.Layers[top].Image!.Header.Version < 3;
                await using ImageChain? below = backing is null ? null : await ImageChain.OpenAsync(backing, cancellationToken: Token);
                ChainResult result = await ChainRebase.RebaseAsync(chain, below, new RebaseOptions { Top = top, Gaps = gaps }, cancellationToken: Token);
                _log.AddRange(result.Bitmaps.Select(static change => $"  {change}"));
            }
            catch (Qcow2UnsupportedException e) when (e.Reason == UnsupportedReason.NoRoomInHeader)
            {
                // Images without a backing file have no place in their first sector for a format's name.
                Log($"  refused: {e.Message}");
                return;
            }
            catch (BitmapStateException e) when (isOld)
            {
                Log($"  refused: {e.Message}");
                return;
            }

            Drop(top + 1, end);
            if (isOther)
            {
                _layers.Add(backing!);
            }
        }, mayDrop: isOther);
    }

    /// <summary>A qcow2 image of the chain, often the active one.</summary>
    private int RandomTop() => Below(2) == 0 ? 0 : Below(_layers.Count(static path => FormatOf(path) == "qcow2"));

    private void Drop(int start, int end)
    {
        foreach (string path in _layers.GetRange(start, end - start))
        {
            File.Delete(path);
        }

        _layers.RemoveRange(start, end - start);
    }

    /// <summary>Does something of ours, and looks at what it left.</summary>
    private async Task OurAsync(string what, Func<Task> action, bool mayDrop = false, bool mayGrow = false)
    {
        if (_layers.Count >= MaxLayers && what == "snapshot")
        {
            return;
        }

        byte[] before = await ContentAsync();
        HashSet<string> validBefore = await ValidAsync();
        Log(what);
        await action();
        _content = null;
        byte[] after = await ContentAsync();
        int same = before.AsSpan().CommonPrefixLength(after);
        Assert.True(same == before.Length && (same == after.Length || mayGrow), $"The guest's byte {same} changed; {before.Length} bytes before, {after.Length} after");
        await CheckAsync();
        HashSet<string> valid = await ValidAsync();
        if (!mayDrop && !what.StartsWith("delete", StringComparison.Ordinal))
        {
            Assert.True(validBefore.IsSubsetOf(valid), $"Valid before: {string.Join(' ', validBefore)}; after: {string.Join(' ', valid)}");
        }

        await CompareAsync();
    }

    private async Task<HashSet<string>> ValidAsync()
    {
        await using ImageChain chain = await ImageChain.OpenAsync(Active, cancellationToken: Token);
        return [.. (await chain.JudgeBitmapsAsync(cancellationToken: Token)).Where(static verdict => verdict.IsValid).Select(static verdict => verdict.Name)];
    }

    private async Task CheckAsync()
    {
        await Task.WhenAll(_layers.Where(static path => FormatOf(path) == "qcow2").Select(static async path =>
        {
            ProcessResult result = await Qemu.ImgAsync("check", QemuBitmaps.WithoutBacking(path));
            Assert.True(result.ExitCode == 0, $"check {path}: {result.Output}{result.Error}");
        }));
    }

    /// <summary>Asserts that each valid bitmap covers what differs from its checkpoint.</summary>
    private async Task CompareAsync()
    {
        byte[] now = await ContentAsync();
        await using ImageChain chain = await ImageChain.OpenAsync(Active, cancellationToken: Token);
        foreach ((string name, byte[] then) in _checkpoints)
        {
            if (!(await chain.JudgeBitmapAsync(name, cancellationToken: Token)).IsValid)
            {
                continue;
            }

            Comparisons++;
            long at = 0;
            await foreach (DirtyExtent extent in chain.ReadExtentsAsync(name, cancellationToken: Token))
            {
                AssertSame(name, then, now, at, extent.OffsetBytes);
                at = extent.EndBytes;
            }

            AssertSame(name, then, now, at, now.Length);
        }
    }

    private static void AssertSame(string name, byte[] then, byte[] now, long start, long end)
    {
        long old = Math.Clamp(then.Length, start, end);
        int same = now.AsSpan((int)start, (int)(old - start)).CommonPrefixLength(then.AsSpan((int)Math.Min(start, then.Length), (int)(old - start)));
        Assert.True(same == old - start, $"Bitmap '{name}' is valid and misses byte {start + same}");
        // What the disk has gained is new where it is not zeros.
        int zeros = now.AsSpan((int)old, (int)(end - old)).IndexOfAnyExcept((byte)0);
        Assert.True(zeros < 0, $"Bitmap '{name}' is valid and misses byte {old + zeros}, which the disk has gained");
    }

    private async Task<byte[]> ContentAsync()
    {
        if (_content is null)
        {
            string raw = folder.File("disk.raw");
            await Qemu.ImgOkAsync("convert", "-f", "qcow2", "-O", "raw", Active, raw);
            _content = await File.ReadAllBytesAsync(raw, Token);
        }

        return _content;
    }

    private async Task<long> SizeAsync()
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(Active, cancellationToken: Token);
        return image.VirtualSizeBytes;
    }

    private long RandomSize() => Sector * (2048L + Below(4096));

    private string RandomOptions(bool mayBeOld)
    {
        int bits = 12 + Below(5);
        bool isOld = mayBeOld && Below(8) == 0;
        bool isExtended = !isOld && bits >= 14 && Below(3) == 0;
        return $"cluster_size={Text(1 << bits)},extended_l2={(isExtended ? "on" : "off")},compat={(isOld ? "0.10" : "1.1")}";
    }

    private string NewFile() => folder.File($"layer{Text(_files++)}.qcow2");

    private static string FormatOf(string path) => path.EndsWith(".raw", StringComparison.Ordinal) ? "raw" : "qcow2";

    private static string Outcome(ProcessResult result) => result.ExitCode == 0 ? "" : $": refused, {result.Error.Trim()}";

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    private int Below(int bound) => _random.Below(bound);

    private void Log(string line) => _log.Add(line);
}
