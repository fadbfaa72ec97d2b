using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Qcow2Bitmaps.Compression;

/// <summary>Loads and copies of many bytes at once at offsets that the caller has proven to be inside.</summary>
internal static class WideMemory
{
    /// <summary>How many bytes behind its end a wide copy may read and write.</summary>
    public const int Slack = 32;

    /// <summary>The 8 bytes at an offset, least significant first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Load64(ref byte origin, nint offset) =>
        BinaryPrimitives.ReadUInt64LittleEndian(MemoryMarshal.CreateReadOnlySpan(ref Unsafe.Add(ref origin, offset), sizeof(ulong)));

    /// <summary>Copies 16 bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy16(ref byte source, nint from, ref byte destination, nint to) =>
        Vector128.LoadUnsafe(ref source, (nuint)from).StoreUnsafe(ref destination, (nuint)to);

    /// <summary>Copies 16 or 32 bytes at a time, up to <see cref="Slack"/> too many. The source may overlap from 16 bytes before.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy(ref byte source, nint from, ref byte destination, nint to, nint length)
    {
        Copy16(ref source, from, ref destination, to);
        for (nint i = 16; i < length; i += 32)
        {
            Copy16(ref source, from + i, ref destination, to + i);
            Copy16(ref source, from + i + 16, ref destination, to + i + 16);
        }
    }
}
