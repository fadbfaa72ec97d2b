namespace Qcow2Bitmaps.Images.State;

/// <summary>The bitmaps of an image as its directory lists them. Immutable.</summary>
internal sealed class BitmapDirectory
{
    private readonly Dictionary<string, BitmapInfo> _byName;

    public BitmapDirectory(IReadOnlyList<BitmapInfo> bitmaps, bool isComplete, long ownedBytes, long reachedBytes)
    {
        Bitmaps = bitmaps;
        IsComplete = isComplete;
        OwnedBytes = ownedBytes;
        ReachedBytes = reachedBytes;
        _byName = new Dictionary<string, BitmapInfo>(bitmaps.Count, StringComparer.Ordinal);
        foreach (BitmapInfo bitmap in bitmaps)
        {
            _byName.TryAdd(bitmap.Name, bitmap);
            TableBytes += bitmap.TableBytes;
        }
    }

    public IReadOnlyList<BitmapInfo> Bitmaps { get; }

    /// <summary>Whether the directory was read to its end.</summary>
    public bool IsComplete { get; }

    /// <summary>
    /// The length in bytes that certainly belongs to the directory: up to the end of its last valid entry. The size in the header may be
    /// outdated; other clusters may follow.
    /// </summary>
    public long OwnedBytes { get; }

    /// <summary>
    /// The most bytes that the directory may occupy: up to the end of the number of entries in the header, whatever is wrong with them; if
    /// there are fewer entries, the size in the header.
    /// </summary>
    public long ReachedBytes { get; }

    /// <summary>The total length of all tables in bytes, as claimed.</summary>
    public long TableBytes { get; }

    /// <summary>The first bitmap with a name; null without one.</summary>
    public BitmapInfo? Find(string name) => _byName.GetValueOrDefault(name);
}
