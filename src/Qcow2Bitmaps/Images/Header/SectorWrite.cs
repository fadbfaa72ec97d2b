namespace Qcow2Bitmaps.Images.Header;

/// <summary>Bytes of the first cluster that change, all in one sector: written as a whole or not at all.</summary>
/// <param name="Offset">Where they stand, in bytes from the start of the file.</param>
/// <param name="Before">What stands there.</param>
/// <param name="After">What is to stand there, as many bytes.</param>
internal sealed record SectorWrite(int Offset, ReadOnlyMemory<byte> Before, ReadOnlyMemory<byte> After)
{
    /// <summary>What a device writes as a whole or not at all, in bytes.</summary>
    public const int SectorBytes = 512;

    /// <summary>Lists what makes one state of the first cluster another, at most one write for a sector.</summary>
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
