namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>Numbers out of a number.</summary>
internal sealed class Dice(int seed)
{
    private ulong _state = (ulong)seed + 1;

    public int Next(int count)
    {
        unchecked
        {
            // SplitMix64.
            _state += 0x9E3779B97F4A7C15;
            ulong mixed = (_state ^ (_state >> 30)) * 0xBF58476D1CE4E5B9;
            mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB;
            return (int)((mixed ^ (mixed >> 31)) % (ulong)count);
        }
    }

    public T Of<T>(params T[] values) => values[Next(values.Length)];
}
