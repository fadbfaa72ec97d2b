using System.Globalization;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// A chain of files that a guest, its administrator and our operations change at random, and what the guest
/// saw when each checkpoint was taken.
/// </summary>
internal sealed partial class TruthWorld(TempFolder folder, ITruthTools tools, int seed)
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
            await File.WriteAllBytesAsync(
                raw, [.. Enumerable.Range(0, (int)size).Select(static i => (byte)(i / 16384 % 3 == 1 ? 0 : 1 + (i % 251)))], Token);
            _layers.Add(raw);
            await OverlayAsync(size);
        }
        else
        {
            _layers.Add(NewFile());
            await tools.CreateAsync(Active, RandomOptions(mayBeOld: false) with { SizeBytes = size });
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
            < 46 => BitmapAsync("disable", name),
            < 47 => EnableAsync(name),
            < 49 => BitmapAsync("remove", name),
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
        var writes = new List<TruthWrite>();
        for (int i = 1 + Below(4); i > 0; i--)
        {
            long first = (long)(_random.Next() % (ulong)(size / Sector));
            long length = Math.Min(size - (first * Sector), Sector * (1L + Below(3 * cluster / Sector)));
            TruthWriteKind kind = Below(8) switch
            {
                0 => TruthWriteKind.Zeros,
                1 => TruthWriteKind.UnmappedZeros,
                2 => TruthWriteKind.Discard,
                _ => TruthWriteKind.Data,
            };
            writes.Add(new TruthWrite(kind, first * Sector, length, kind == TruthWriteKind.Data ? (byte)(1 + Below(255)) : (byte)0));
        }

        _content = null;
        Log($"{(crash ? "crash after " : "")}{string.Join(", ", writes)}");
        await (crash ? tools.CrashAsync(Active, writes) : tools.WriteAsync(Active, writes));
    }

    private async Task ResizeAsync()
    {
        if (!tools.RecordsResizes)
        {
            await using ImageChain chain = await ImageChain.OpenAsync(Active, cancellationToken: Token);
            if (chain.Layers.Any(layer => layer.VirtualSizeBytes > chain.Layers[0].VirtualSizeBytes))
            {
                _checkpoints.Clear();
            }
        }

        long size = await SizeAsync() + (Sector * (1L + Below(1024)));
        if (tools.CanShrink && Below(2) == 0)
        {
            size = RandomSize();
        }

        string? refusal = await tools.ResizeAsync(Active, size);
        Log($"resize to {size}{Outcome(refusal)}");
        _content = null;
    }

    private async Task AddAsync(string name)
    {
        byte[] content = await ContentAsync();
        if (await BitmapAsync("add", name, 512 << Below(8)))
        {
            _checkpoints[name] = content;
        }
    }

    private async Task ClearAsync(string name)
    {
        byte[] content = await ContentAsync();
        bool isRecording = await StateAsync(name) == BitmapState.Recording;
        if (await BitmapAsync("clear", name))
        {
            if (isRecording)
            {
                _checkpoints[name] = content;
            }
            else
            {
                // It may have held what images that have left the chain had: the user says that this counts no more.
                _checkpoints.Remove(name);
            }
        }
    }

    private async Task EnableAsync(string name)
    {
        bool wasDisabled = await StateAsync(name) == BitmapState.Disabled;
        if (await BitmapAsync("enable", name) && wasDisabled)
        {
            // What was written meanwhile is in no bitmap: from now on it is the user who says that there was nothing.
            _checkpoints.Remove(name);
        }
    }

    private async Task<bool> BitmapAsync(string action, string name, long granularityBytes = 0)
    {
        string? refusal = await tools.BitmapAsync(Active, action, name, granularityBytes);
        Log($"bitmap {action} {(granularityBytes > 0 ? $"-g {granularityBytes} " : "")}{name}{Outcome(refusal)}");
        return refusal is null;
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

        long oldSize = FormatOf(Active) == "qcow2" ? await SizeAsync() : size!.Value;
        size ??= Below(4) == 0 ? RandomSize() : oldSize;
        foreach (string cut
            in _checkpoints.Where(checkpoint => oldSize < size && checkpoint.Value.Length > oldSize)
                .Select(static checkpoint => checkpoint.Key).ToList())
        {
            // A disk that has become shorter grows with an overlay that its user makes: what reads as zeros there now is in no bitmap.
            _checkpoints.Remove(cut);
        }

        string path = NewFile();
        Qcow2CreateOptions options = RandomOptions(mayBeOld: _layers.Count > 1) with
        {
            SizeBytes = size.Value,
            BackingFile = Path.GetFileName(Active),
            BackingFormat = FormatOf(Active),
        };
        await tools.CreateAsync(path, options);
        _layers.Insert(0, path);
        Log(
            $"create {Path.GetFileName(path)} v{options.Version}, clusters of "
            + $"{options.ClusterSizeBytes}{(options.ExtendedL2 ? ", extended" : "")}, {size} bytes");
        _content = null;
    }

    /// <summary>
    /// An overlay that does not record, and one that does again: what was written between is in no bitmap, so that the
    /// checkpoint stays and the bitmap is not valid.
    /// </summary>
    private async Task GapAsync(string name)
    {
        if (_layers.Count > MaxLayers - 2 || await StateAsync(name) != BitmapState.Recording)
        {
            return;
        }

        await OverlayAsync(null);
        await WriteAsync(crash: false);
        await OverlayAsync(null);
        await BitmapAsync("add", name, 512 << Below(8));
    }

    private async Task<byte[]> ContentAsync() => _content ??= await tools.ReadAsync(Active);

    private async Task<long> SizeAsync()
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(Active, cancellationToken: Token);
        return image.VirtualSizeBytes;
    }

    private long RandomSize() => Sector * (2048L + Below(4096));

    private Qcow2CreateOptions RandomOptions(bool mayBeOld)
    {
        int bits = 12 + Below(5);
        bool isOld = mayBeOld && Below(8) == 0;
        bool isExtended = !isOld && bits >= 14 && Below(3) == 0;
        return new Qcow2CreateOptions
        {
            SizeBytes = Sector,
            ClusterSizeBytes = 1 << bits,
            ExtendedL2 = isExtended,
            Version = isOld ? 2 : 3,
        };
    }

    private string NewFile() => folder.File($"layer{Text(_files++)}.qcow2");

    private static string FormatOf(string path) => path.EndsWith(".raw", StringComparison.Ordinal) ? "raw" : "qcow2";

    private static string Outcome(string? refusal) => refusal is null ? "" : $": refused, {refusal}";

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    private int Below(int bound) => _random.Below(bound);

    private void Log(string line) => _log.Add(line);
}
