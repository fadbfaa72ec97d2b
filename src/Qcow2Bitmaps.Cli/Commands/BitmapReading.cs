using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>A bitmap that can be read completely: of one image, or merged over a chain.</summary>
internal sealed class BitmapReading
{
    private readonly Func<bool, CancellationToken, IAsyncEnumerable<DirtyExtent>> _read;
    private readonly Func<CancellationToken, Task<long>> _countBytes;

    private BitmapReading(
        BitmapInfo topmost,
        long virtualSizeBytes,
        Func<bool, CancellationToken, IAsyncEnumerable<DirtyExtent>> read,
        Func<CancellationToken, Task<long>> countBytes)
    {
        Name = topmost.Name;
        GranularityBytes = topmost.GranularityBytes;
        IsInconsistent = topmost.State == BitmapState.Inconsistent;
        VirtualSizeBytes = virtualSizeBytes;
        _read = read;
        _countBytes = countBytes;
    }

    public string Name { get; }

    public long GranularityBytes { get; }

    public long VirtualSizeBytes { get; }

    /// <summary>Whether only a lenient reader gets the bits: they are those of the last save, not a record of changes.</summary>
    public bool IsInconsistent { get; }

    public static BitmapReading Of(ChainLayer layer, string name, ICollection<FormatFault> findings)
    {
        BitmapInfo info = Find(layer, name);
        BitmapCollection bitmaps = layer.RequireImage().Bitmaps;
        return new BitmapReading(
            info,
            layer.VirtualSizeBytes,
            (includeClean, token) => bitmaps.ReadExtentsAsync(name, includeClean, findings, token),
            token => bitmaps.CountDirtyBytesAsync(name, token));
    }

    /// <summary>A bitmap that is valid over a chain.</summary>
    public static BitmapReading Of(ImageChain chain, string name, ICollection<FormatFault> findings) => new(
        Find(chain.Layers[0], name),
        chain.Layers[0].VirtualSizeBytes,
        (includeClean, token) => chain.ReadExtentsAsync(name, includeClean, findings, token),
        token => chain.CountDirtyBytesAsync(name, token));

    public IAsyncEnumerable<DirtyExtent> ReadAsync(bool includeClean, CancellationToken cancellationToken) =>
        _read(includeClean, cancellationToken);

    public Task<long> CountBytesAsync(CancellationToken cancellationToken) => _countBytes(cancellationToken);

    private static BitmapInfo Find(ChainLayer layer, string name)
    {
        if (layer is RawLayer)
        {
            throw IOException.Of($"'{layer.Path}' is raw and holds no bitmaps");
        }

        return layer.RequireImage().Bitmaps.TryGet(name, out BitmapInfo? info)
            ? info
            : throw IOException.Of($"Dirty bitmap '{name}' not found in '{layer.Path}'");
    }
}
