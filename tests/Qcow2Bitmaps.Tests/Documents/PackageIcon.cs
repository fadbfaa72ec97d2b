using System.Buffers.Binary;
using System.Text;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>
/// Draws the packages' icon: a bitmap with some bits dirty. A PNG of four colours, stored without compression, so that
/// it has the same bytes wherever it is drawn.
/// </summary>
internal static class PackageIcon
{
    private const int Size = 128;
    private const int CellsPerSide = 5;
    private const int Pitch = 22;
    private const int CellSize = 18;
    private const int Margin = (Size - ((CellsPerSide - 1) * Pitch) - CellSize) / 2;
    private const int CornerRadius = 20;
    private const int BytesPerLine = 1 + (Size / 4);

    private static readonly byte[] s_signature = [0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A];

    /// <summary>Background outside, background, clean, dirty.</summary>
    private static readonly byte[] s_palette = [0, 0, 0, 0x1B, 0x2A, 0x41, 0x5C, 0x73, 0x94, 0xFF, 0x9F, 0x1C];

    private static readonly string[] s_cells =
    [
        "...#.",
        ".##..",
        ".###.",
        "..##.",
        "#....",
    ];

    public static byte[] Draw()
    {
        var lines = new byte[Size * BytesPerLine];
        for (int y = 0; y < Size; y++)
        {
            for (int x = 0; x < Size; x++)
            {
                lines[(y * BytesPerLine) + 1 + (x / 4)] |= (byte)(ColourAt(x, y) << (6 - (x % 4 * 2)));
            }
        }

        using var png = new MemoryStream();
        png.Write(s_signature);
        // Width, height, two bits each, palette, the only compression and filter there are, not interlaced.
        Append(png, "IHDR", [0, 0, 0, Size, 0, 0, 0, Size, 2, 3, 0, 0, 0]);
        Append(png, "PLTE", s_palette);
        Append(png, "tRNS", [0]);
        Append(png, "IDAT", Stored(lines));
        Append(png, "IEND", []);
        return png.ToArray();
    }

    private static int ColourAt(int x, int y)
    {
        int dx = Math.Max(0, Math.Max(CornerRadius - x, x - (Size - 1 - CornerRadius)));
        int dy = Math.Max(0, Math.Max(CornerRadius - y, y - (Size - 1 - CornerRadius)));
        if ((dx * dx) + (dy * dy) > CornerRadius * CornerRadius)
        {
            return 0;
        }

        (int column, int inColumn) = Math.DivRem(Math.Max(0, x - Margin), Pitch);
        (int row, int inRow) = Math.DivRem(Math.Max(0, y - Margin), Pitch);
        bool isInCell = x >= Margin
            && y >= Margin
            && column < CellsPerSide
            && row < CellsPerSide
            && inColumn < CellSize
            && inRow < CellSize;
        return !isInCell ? 1 : s_cells[row][column] == '#' ? 3 : 2;
    }

    /// <summary>A zlib stream of one stored block.</summary>
    private static byte[] Stored(byte[] bytes)
    {
        var stream = new byte[2 + 5 + bytes.Length + 4];
        stream[0] = 0x78;
        stream[1] = 0x01;
        stream[2] = 1;
        BinaryPrimitives.WriteUInt16LittleEndian(stream.AsSpan(3), (ushort)bytes.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(stream.AsSpan(5), (ushort)(ushort.MaxValue - bytes.Length));
        bytes.CopyTo(stream, 7);
        (uint a, uint b) = (1, 0);
        foreach (byte value in bytes)
        {
            a = (a + value) % 65521;
            b = (b + a) % 65521;
        }

        BinaryPrimitives.WriteUInt32BigEndian(stream.AsSpan(7 + bytes.Length), (b << 16) | a);
        return stream;
    }

    private static void Append(MemoryStream png, string type, byte[] data)
    {
        byte[] chunk = [.. Encoding.ASCII.GetBytes(type), .. data];
        Span<byte> number = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(number, data.Length);
        png.Write(number);
        png.Write(chunk);
        BinaryPrimitives.WriteUInt32BigEndian(number, Crc32(chunk));
        png.Write(number);
    }

    private static uint Crc32(byte[] bytes)
    {
        uint crc = uint.MaxValue;
        foreach (byte value in bytes)
        {
            crc ^= value;
            for (int bit = 0; bit < 8; bit++)
            {
                crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xEDB88320 : crc >> 1;
            }
        }

        return ~crc;
    }
}
