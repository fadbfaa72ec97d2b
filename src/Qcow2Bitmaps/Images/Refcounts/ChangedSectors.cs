using System.Numerics;
using Qcow2Bitmaps.Images.Header;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>Which sectors of a cluster in memory differ from the file.</summary>
/// <param name="clusterSizeBytes">The size of a cluster.</param>
/// <param name="isNew">Whether all sectors do.</param>
internal sealed class ChangedSectors(int clusterSizeBytes, bool isNew)
{
    private readonly int _count = clusterSizeBytes / SectorWrite.SectorBytes;
    private readonly ulong[] _bits = Bits((clusterSizeBytes / SectorWrite.SectorBytes + 63) / 64, isNew);

    /// <summary>Marks bytes as changed.</summary>
    public void Add(int firstByte, int lastByte)
    {
        for (int sector = firstByte / SectorWrite.SectorBytes; sector <= lastByte / SectorWrite.SectorBytes; sector++)
        {
            _bits[sector >> 6] |= 1UL << (sector & 63);
        }
    }

    public void UnionWith(ChangedSectors other)
    {
        for (int i = 0; i < _bits.Length; i++)
        {
            _bits[i] |= other._bits[i];
        }
    }

    public void Clear() => _bits.AsSpan().Clear();

    /// <summary>Lists the byte ranges of changed sectors, adjacent ones joined.</summary>
    public IEnumerable<(int Start, int Length)> Runs()
    {
        for (int sector = Next(0, true); sector < _count;)
        {
            int end = Next(sector, false);
            yield return (sector * SectorWrite.SectorBytes, (end - sector) * SectorWrite.SectorBytes);
            sector = Next(end, true);
        }
    }

    /// <summary>The first sector, from a given one on, whose bit has a value; the number of sectors if there is none.</summary>
    private int Next(int from, bool value)
    {
        for (int at = from; at < _count; at = (at | 63) + 1)
        {
            ulong word = (value ? _bits[at >> 6] : ~_bits[at >> 6]) >> (at & 63);
            if (word != 0)
            {
                return Math.Min(at + BitOperations.TrailingZeroCount(word), _count);
            }
        }

        return _count;
    }

    private static ulong[] Bits(int words, bool value)
    {
        var bits = new ulong[words];
        Array.Fill(bits, value ? ulong.MaxValue : 0);
        return bits;
    }
}
