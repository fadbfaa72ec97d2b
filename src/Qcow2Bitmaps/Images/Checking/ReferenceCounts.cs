namespace Qcow2Bitmaps.Images.Checking;

/// <summary>How often each cluster of the file is used: what the stored reference counts should be.</summary>
/// <remarks>Takes memory for ranges of clusters that are used only: 4 bytes a cluster. Counts end at the largest that the image can store.</remarks>
internal sealed class ReferenceCounts(long clusters, ulong maxCount)
{
    // Small: in a sparse file each entry of a hostile table can name a range of its own.
    public const int ChunkShift = 10;

    private readonly uint[]?[] _chunks = new uint[]?[(clusters + (1L << ChunkShift) - 1) >> ChunkShift];

    public int ChunkCount => _chunks.Length;

    public bool IsUnused(int chunk) => _chunks[chunk] is null;

    public uint this[long cluster] => _chunks[(int)(cluster >> ChunkShift)]?[(int)(cluster & ((1 << ChunkShift) - 1))] ?? 0;

    /// <summary>Counts uses of a cluster; one behind the end is left out.</summary>
    /// <returns>Whether the count could be raised so far.</returns>
    public bool TryAdd(long cluster, long times)
    {
        if (cluster >= clusters)
        {
            return true;
        }

        uint[] chunk = _chunks[(int)(cluster >> ChunkShift)] ??= new uint[1 << ChunkShift];
        ref uint count = ref chunk[(int)(cluster & ((1 << ChunkShift) - 1))];
        ulong wanted = count + (ulong)times;
        count = (uint)Math.Min(wanted, Math.Min(maxCount, uint.MaxValue));
        return count == wanted;
    }
}
