using System.Buffers.Binary;
using System.Numerics;

namespace Qcow2Bitmaps.Compression;

/// <summary>The checksum of zstd frames: XXH64 with seed 0 (xxHash specification, "XXH64 Algorithm Description").</summary>
internal static class XxHash64
{
    private const ulong Prime1 = 0x9E3779B185EBCA87;
    private const ulong Prime2 = 0xC2B2AE3D27D4EB4F;
    private const ulong Prime3 = 0x165667B19E3779F9;
    private const ulong Prime4 = 0x85EBCA77C2B2AE63;
    private const ulong Prime5 = 0x27D4EB2F165667C5;
    private const int StripeBytes = 32;

    /// <summary>The hash of some bytes.</summary>
    public static ulong Hash(ReadOnlySpan<byte> content)
    {
        unchecked
        {
            ReadOnlySpan<byte> rest = content;
            ulong hash = rest.Length >= StripeBytes ? HashStripes(ref rest) : Prime5;
            hash += (ulong)content.Length;
            for (; rest.Length >= sizeof(ulong); rest = rest[sizeof(ulong)..])
            {
                hash ^= Round(0, BinaryPrimitives.ReadUInt64LittleEndian(rest));
                hash = (BitOperations.RotateLeft(hash, 27) * Prime1) + Prime4;
            }

            if (rest.Length >= sizeof(uint))
            {
                hash ^= BinaryPrimitives.ReadUInt32LittleEndian(rest) * Prime1;
                hash = (BitOperations.RotateLeft(hash, 23) * Prime2) + Prime3;
                rest = rest[sizeof(uint)..];
            }

            foreach (byte last in rest)
            {
                hash ^= last * Prime5;
                hash = BitOperations.RotateLeft(hash, 11) * Prime1;
            }

            hash ^= hash >> 33;
            hash *= Prime2;
            hash ^= hash >> 29;
            hash *= Prime3;
            return hash ^ (hash >> 32);
        }
    }

    private static ulong HashStripes(ref ReadOnlySpan<byte> rest)
    {
        unchecked
        {
            ulong first = Prime1 + Prime2;
            ulong second = Prime2;
            ulong third = 0;
            ulong fourth = 0 - Prime1;
            for (; rest.Length >= StripeBytes; rest = rest[StripeBytes..])
            {
                first = Round(first, BinaryPrimitives.ReadUInt64LittleEndian(rest));
                second = Round(second, BinaryPrimitives.ReadUInt64LittleEndian(rest[8..]));
                third = Round(third, BinaryPrimitives.ReadUInt64LittleEndian(rest[16..]));
                fourth = Round(fourth, BinaryPrimitives.ReadUInt64LittleEndian(rest[24..]));
            }

            ulong hash = BitOperations.RotateLeft(first, 1) + BitOperations.RotateLeft(second, 7)
                + BitOperations.RotateLeft(third, 12) + BitOperations.RotateLeft(fourth, 18);
            hash = Merge(hash, first);
            hash = Merge(hash, second);
            hash = Merge(hash, third);
            return Merge(hash, fourth);
        }
    }

    private static ulong Round(ulong lane, ulong word) => unchecked(BitOperations.RotateLeft(lane + (word * Prime2), 31) * Prime1);

    private static ulong Merge(ulong hash, ulong lane) => unchecked(((hash ^ Round(0, lane)) * Prime1) + Prime4);
}
