namespace Qcow2Bitmaps.Images.Header;

/// <summary>Changed bytes of the first cluster, all in one sector: written completely or not at all.</summary>
/// <param name="Offset">Their offset, in bytes from the start of the file.</param>
/// <param name="Before">The old bytes.</param>
/// <param name="After">The new bytes, of the same length.</param>
internal sealed record SectorWrite(int Offset, ReadOnlyMemory<byte> Before, ReadOnlyMemory<byte> After)
{
    /// <summary>The size of an atomic device write in bytes.</summary>
    public const int SectorBytes = 512;

    /// <summary>Lists the differences between two states of the first cluster, at most one write for each sector.</summary>
    public static List<SectorWrite> Between(byte[] before, byte[] after)
    {
        var writes = new List<SectorWrite>();
        for (int sector = 0; sector < before.Length; sector += SectorBytes)
        {
            int length = Math.Min(SectorBytes, before.Length - sector);
            int first = before.AsSpan(sector, length).CommonPrefixLength(after.AsSpan(sector, length));
            if (first == length)
            {
                continue;
            }

            int end = length;
            while (before[sector + end - 1] == after[sector + end - 1])
            {
                end--;
            }

            Range changed = (sector + first)..(sector + end);
            writes.Add(new SectorWrite(sector + first, before.AsSpan(changed).ToArray(), after.AsSpan(changed).ToArray()));
        }

        return writes;
    }
}
