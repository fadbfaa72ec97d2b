using System.Numerics;

namespace Qcow2Bitmaps.Compression;

/// <summary>Reads bits backwards from the end of a short stream, where speed does not matter. RFC 8878, 4.1 and 4.2.2.</summary>
internal ref struct BackwardBits
{
    private readonly ReadOnlySpan<byte> _stream;

    private BackwardBits(ReadOnlySpan<byte> stream)
    {
        _stream = stream;
        Remaining = (stream.Length * 8) - CountPadding(stream[^1]);
    }

    /// <summary>How many bits are left; negative once more were taken.</summary>
    public int Remaining { get; private set; }

    /// <summary>How many bits of a stream's last byte stand above its content: zeros, and the one that marks the end.</summary>
    public static int CountPadding(byte last) => 8 - BitOperations.Log2(last);

    /// <summary>Opens a stream.</summary>
    /// <returns>Whether its last byte has the bit that marks the end.</returns>
    public static bool TryOpen(ReadOnlySpan<byte> stream, out BackwardBits bits)
    {
        bool isStream = !stream.IsEmpty && stream[^1] != 0;
        bits = isStream ? new BackwardBits(stream) : default;
        return isStream;
    }

    /// <summary>Takes up to 16 bits; those behind the start are zeros.</summary>
    public int Take(int count)
    {
        int value = 0;
        for (int i = 0; i < count; i++)
        {
            Remaining--;
            int bit = Remaining < 0 ? 0 : (_stream[Remaining / 8] >> (Remaining % 8)) & 1;
            value = (value << 1) | bit;
        }

        return value;
    }
}
