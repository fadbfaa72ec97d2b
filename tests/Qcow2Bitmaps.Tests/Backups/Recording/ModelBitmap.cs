namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>A bitmap of the model.</summary>
internal sealed record ModelBitmap(string Name, int Granularity, bool IsPersistent, bool IsRecording, bool[] Bits, bool[]? Successor = null)
{
    public static ModelBitmap New(string name, int granularity, bool isPersistent, bool isRecording) =>
        new(name, granularity, isPersistent, isRecording, Clean(granularity));

    public static bool[] Clean(int granularity) => new bool[(RecordCase.DiskBytes + granularity - 1) / granularity];

    public bool IsBusy => Successor is not null;

    public void Record(long offset, long length)
    {
        bool[] bits = Successor ?? Bits;
        for (int bit = 0; bit < bits.Length && IsRecording; bit++)
        {
            bits[bit] |= Overlaps(bit, offset, length);
        }
    }

    /// <summary>This bitmap and what of another one lies under its granules.</summary>
    public ModelBitmap With(bool[] other, int granularity)
    {
        bool[] merged = [.. Bits];
        for (int i = 0; i < other.Length; i++)
        {
            for (int bit = 0; bit < merged.Length && other[i]; bit++)
            {
                merged[bit] |= Overlaps(bit, (long)i * granularity, Math.Min(granularity, RecordCase.DiskBytes - (long)i * granularity));
            }
        }

        return this with { Bits = merged };
    }

    private bool Overlaps(int bit, long offset, long length) =>
        offset < ((long)bit + 1) * Granularity && (long)bit * Granularity < offset + length;
}
