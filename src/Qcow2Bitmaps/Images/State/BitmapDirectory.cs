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
    /// How many bytes are the directory's for sure: up to the end of its last entry that can be. The header's size may have been left
    /// behind, and then somebody else's clusters follow.
    /// </summary>
    public long OwnedBytes { get; }

    /// <summary>
    /// How far the directory may reach, in bytes: up to the end of as many entries as the header counts, whatever is wrong with them; as
    /// far as the header says where there are fewer.
    /// </summary>
    public long ReachedBytes { get; }

    /// <summary>The bytes that all tables claim.</summary>
    public long TableBytes { get; }

    /// <summary>The first bitmap of a name; null without one.</summary>
    public BitmapInfo? Find(string name) => _byName.GetValueOrDefault(name);
}
