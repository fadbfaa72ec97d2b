using System.Buffers.Binary;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Numbers that look random and are the same in every run.</summary>
internal sealed class SplitMix(ulong seed)
{
    private ulong _state = seed;

    public ulong Next()
    {
        unchecked
        {
            _state += 0x9E3779B97F4A7C15;
            ulong z = (_state ^ (_state >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            return z ^ (z >> 31);
        }
    }

    /// <summary>Fills bytes, eight at a time.</summary>
    public void Fill(Span<byte> bytes)
    {
        Span<byte> word = stackalloc byte[sizeof(ulong)];
        for (; !bytes.IsEmpty; bytes = bytes[Math.Min(bytes.Length, word.Length)..])
        {
            BinaryPrimitives.WriteUInt64LittleEndian(word, Next());
            word[..Math.Min(bytes.Length, word.Length)].CopyTo(bytes);
        }
    }

    /// <summary>A number from 0 up to, and without, a bound.</summary>
    public int Below(int bound) => (int)(Next() % (uint)bound);

    public T Pick<T>(IReadOnlyList<T> items) => items[Below(items.Count)];
}
