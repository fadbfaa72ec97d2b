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

    /// <summary>A number from 0 up to, and without, a bound.</summary>
    public int Below(int bound) => (int)(Next() % (uint)bound);

    public T Pick<T>(IReadOnlyList<T> items) => items[Below(items.Count)];
}
