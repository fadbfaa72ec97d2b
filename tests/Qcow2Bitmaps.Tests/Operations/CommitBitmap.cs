namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>A bitmap as naively as can be.</summary>
/// <param name="State">Its state.</param>
/// <param name="GranularityBytes">Its granularity.</param>
/// <param name="Sectors">For each sector of 512 bytes, whether its granule is dirty, as it is stored.</param>
internal sealed record CommitBitmap(BitmapState State, long GranularityBytes, bool[] Sectors)
{
    private const int SectorBytes = 512;

    /// <summary>Adds sectors, rounded out to granules.</summary>
    public CommitBitmap With(int sectorCount, params IEnumerable<bool[]> others)
    {
        var sectors = new bool[sectorCount];
        int granule = (int)(GranularityBytes / SectorBytes);
        foreach (bool[] other in others.Prepend(Sectors))
        {
            for (int i = 0; i < Math.Min(other.Length, sectorCount); i++)
            {
                if (other[i])
                {
                    int start = i / granule * granule;
                    sectors.AsSpan(start, Math.Min(granule, sectorCount - start)).Fill(true);
                }
            }
        }

        return this with { Sectors = sectors };
    }

    public bool IsSameAs(CommitBitmap other) =>
        State == other.State && GranularityBytes == other.GranularityBytes && Sectors.AsSpan().SequenceEqual(other.Sectors);

    public override string ToString() => $"{State} {GranularityBytes} {Show(Sectors)}";

    /// <summary>A letter for eight sectors: all, some, or none.</summary>
    public static string Show(IEnumerable<bool> sectors) => string.Concat(
        sectors.Chunk(8).Select(static eight => eight.All(static bit => bit) ? '#' : eight.Any(static bit => bit) ? '+' : '.'));
}
