using System.Buffers.Binary;
using System.Globalization;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Changes one to three fields of an image to values at or near a boundary, the same ones for a seed.</summary>
internal sealed class Mutation
{
    private readonly SplitMix _random;
    private readonly List<string> _changes = [];

    private Mutation(byte[] bytes, ulong seed)
    {
        Bytes = (byte[])bytes.Clone();
        _random = new SplitMix(seed);
    }

    public byte[] Bytes { get; }

    /// <summary>Whether a field has become an offset in the last GiB below 2^63.</summary>
    public bool HasOffsetNearTheEnd { get; private set; }

    public static Mutation Of(byte[] bytes, IReadOnlyList<MetadataField> fields, ulong seed)
    {
        var mutation = new Mutation(bytes, seed);
        // Mostly one: with more, the first fault hides the others.
        int count = mutation._random.Below(4) switch { 0 => 2, 1 => 3, _ => 1 };
        for (int i = 0; i < count; i++)
        {
            mutation.Change(mutation._random.Pick(fields));
        }

        return mutation;
    }

    public override string ToString() => string.Join(", ", _changes);

    private void Change(MetadataField field)
    {
        Span<byte> at = Bytes.AsSpan((int)field.Offset, field.Bytes);
        ulong old = 0;
        foreach (byte b in at)
        {
            old = (old << 8) | b;
        }

        ulong value = Value(old, field.Bytes * 8);
        Span<byte> wide = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(wide, value);
        wide[^field.Bytes..].CopyTo(at);
        HasOffsetNearTheEnd |= value is >= (ulong)long.MaxValue - (1 << 30) and <= long.MaxValue;
        _changes.Add(string.Create(CultureInfo.InvariantCulture, $"{field.Name} at 0x{field.Offset:x}: 0x{old:x} -> 0x{value:x}"));
    }

    private ulong Value(ulong old, int bits)
    {
        ulong max = bits == 64 ? ulong.MaxValue : (1UL << bits) - 1;
        ulong value = _random.Below(16) switch
        {
            0 => 0,
            1 => 1,
            2 => max,
            3 => max >> 1,
            4 => (max >> 1) + 1,
            5 or 6 => unchecked(old + 1),
            7 => unchecked(old - 1),
            8 => unchecked(old + 8),
            9 => old << 1,
            10 => old >> 1,
            11 => old ^ (1UL << _random.Below(bits)),
            12 => _random.Next() & ~0xffffUL & 0x00ff_ffff_ffff_ffff,
            // As large as an aligned offset can be.
            13 => max & ~0x1f_ffffUL,
            14 => (max >> 1) & ~0x1f_ffffUL,
            _ => _random.Next() >> _random.Below(bits),
        };
        return value & max;
    }
}
