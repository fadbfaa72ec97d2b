using System.Diagnostics.CodeAnalysis;

namespace Qcow2Bitmaps.Format;

/// <summary>One entry of the feature-name table: which bit it names, and how. Spec: "Feature name table".</summary>
/// <param name="Kind">0 incompatible, 1 compatible, 2 autoclear; other values are kept as they are.</param>
/// <param name="Bit">The number of the bit.</param>
/// <param name="Name">The name.</param>
internal readonly record struct FeatureName(byte Kind, byte Bit, string Name)
{
    /// <summary>Bytes of an entry.</summary>
    public const int EntryBytes = 48;

    private const int NameOffset = 2;

    // All bits that this library knows, with QEMU's names and in its order.
    private static readonly FeatureName[] s_known =
    [
        new(0, 0, "dirty bit"),
        new(0, 1, "corrupt bit"),
        new(0, 2, "external data file"),
        new(0, 3, "compression type"),
        new(0, 4, "extended L2 entries"),
        new(1, 0, "lazy refcounts"),
        new(2, 0, "bitmaps"),
        new(2, 1, "raw external data"),
    ];

    /// <summary>Reads an entry.</summary>
    /// <param name="source">At least <see cref="EntryBytes"/> bytes.</param>
    /// <returns>The entry; the name ends at the first zero byte or at the entry's end.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The source is too short.</exception>
    public static FeatureName Read(ReadOnlySpan<byte> source) =>
        new(source[0], source[1], ImageText.DecodeUpToNul(source[NameOffset..EntryBytes]));

    /// <summary>Writes the entry.</summary>
    /// <param name="destination">At least <see cref="EntryBytes"/> bytes.</param>
    /// <exception cref="ArgumentException">The destination is too short, or the name longer than 46 bytes of UTF-8.</exception>
    public void Write(Span<byte> destination)
    {
        destination[..EntryBytes].Clear();
        destination[0] = Kind;
        destination[1] = Bit;
        ImageText.Encode(Name).CopyTo(destination[NameOffset..EntryBytes]);
    }

    /// <summary>Finds the name of an incompatible feature bit.</summary>
    /// <param name="table">The data of the feature-name extension; bytes after the last whole entry are ignored.</param>
    /// <param name="bit">The number of the bit.</param>
    /// <param name="name">The name, if the table has one.</param>
    /// <returns>Whether the table names the bit.</returns>
    public static bool TryFindIncompatible(ReadOnlySpan<byte> table, int bit, [NotNullWhen(true)] out string? name)
    {
        for (; table.Length >= EntryBytes; table = table[EntryBytes..])
        {
            if (table[0] == 0 && table[1] == bit)
            {
                name = Read(table).Name;
                return true;
            }
        }

        name = null;
        return false;
    }

    /// <summary>The data of the feature-name extension of images that this library creates.</summary>
    internal static byte[] KnownTable()
    {
        var table = new byte[s_known.Length * EntryBytes];
        for (int i = 0; i < s_known.Length; i++)
        {
            s_known[i].Write(table.AsSpan(i * EntryBytes));
        }

        return table;
    }
}
