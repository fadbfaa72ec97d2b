namespace Qcow2Bitmaps.Tests.Support;

/// <summary>The contents that a sector goes through between two flushes.</summary>
internal sealed class SectorHistory(long offset, byte[] start)
{
    private readonly List<(byte[] Bytes, int Operations)> _versions = [(start, 0)];

    /// <summary>Where the sector starts.</summary>
    public long Offset => offset;

    /// <summary>The contents, each with the number of operations after which it was there; the first one is flushed.</summary>
    public IReadOnlyList<(byte[] Bytes, int Operations)> Versions => _versions;

    public void Add(byte[] bytes, int operations)
    {
        if (!bytes.AsSpan().SequenceEqual(_versions[^1].Bytes))
        {
            _versions.Add((bytes, operations));
        }
    }

    /// <summary>The content after a number of operations.</summary>
    public int LastAfter(int operations) => _versions.FindLastIndex(v => v.Operations <= operations);
}
