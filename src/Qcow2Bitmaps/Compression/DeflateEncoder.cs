using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Compression;

// Decisions: docs/decisions/compression.md.
/// <summary>Encodes clusters as raw deflate (RFC 1951) with distances of at most 4 KiB, the window that QEMU declares.</summary>
/// <remarks>
/// The framework's encoder has no setting for the window. zlib as QEMU calls it happens to accept longer distances, but other readers need
/// not. Matches are found by chains of earlier positions with the same four bytes; a match is deferred by one byte in case a longer one
/// starts there. Not thread-safe; reusable for any number of clusters.
/// </remarks>
internal sealed class DeflateEncoder
{
    private const int WindowBytes = 1 << 12;
    private const int LeastMatch = 3;
    private const int HashedBytes = 4;
    private const int LongestMatch = 258;
    private const int HashBits = 13;
    private const int ShortHashBits = 10;

    // A longer search, or deferring further, saves only a few bytes in a thousand.
    private const int MostCandidates = 16;
    private const int GoodMatch = 24;
    private const int MostTokens = 1 << 15;

    private readonly int[] _latest = new int[1 << HashBits];
    private readonly int[] _latestShort = new int[1 << ShortHashBits];
    private readonly int[] _earlier = new int[WindowBytes];
    private readonly DeflateBlock _block = new(MostTokens);

    // Positions keep increasing from cluster to cluster, a window apart, so that those of earlier clusters are out of reach.
    private int _origin = WindowBytes + 1;

    /// <summary>Encodes a cluster.</summary>
    /// <param name="cluster">What to encode, at most 2 MiB.</param>
    /// <param name="compressed">Receives the compressed data; its content after a failure is unspecified.</param>
    /// <param name="lengthBytes">The length of the compressed data.</param>
    /// <returns>Whether it fits.</returns>
    public bool TryEncode(ReadOnlySpan<byte> cluster, Span<byte> compressed, out int lengthBytes)
    {
        StartCluster(cluster.Length);
        var writer = new ForwardBitWriter(compressed);
        int blockStart = 0;
        int at = 0;
        bool fits;
        do
        {
            at = FindTokens(cluster, at);
            fits = _block.TryWrite(cluster[blockStart..at], ref writer, isLast: at == cluster.Length, compressed.Length);
            blockStart = at;
        }
        while (fits && at < cluster.Length);
        _origin += cluster.Length + WindowBytes;
        lengthBytes = fits ? writer.Finish() : 0;
        return fits;
    }

    private void StartCluster(int length)
    {
        if (_origin > int.MaxValue - length - (2 * WindowBytes))
        {
            Array.Clear(_latest);
            Array.Clear(_latestShort);
            Array.Clear(_earlier);
            _origin = WindowBytes + 1;
        }
    }

    /// <summary>Fills the block with tokens for the bytes from a position on, until the block is full or the bytes end.</summary>
    /// <returns>The position after the bytes of the tokens.</returns>
    private int FindTokens(ReadOnlySpan<byte> cluster, int at)
    {
        unchecked
        {
            int waitingLength = 0;
            int waitingDistance = 0;
            bool isWaiting = false;
            int hashEnd = cluster.Length - HashedBytes;
            while (at < cluster.Length && !_block.IsAlmostFull)
            {
                int length = 0;
                int distance = 0;
                if (at <= hashEnd)
                {
                    length = waitingLength >= GoodMatch ? 0 : FindMatch(cluster, at, waitingLength, out distance);
                    Remember(cluster, at);
                }

                if (waitingLength >= LeastMatch && length <= waitingLength)
                {
                    _block.AddMatch(waitingLength, waitingDistance);
                    int next = at - 1 + waitingLength;
                    for (at++; at < next; at++)
                    {
                        if (at <= hashEnd)
                        {
                            Remember(cluster, at);
                        }
                    }

                    waitingLength = 0;
                    isWaiting = false;
                    continue;
                }

                if (isWaiting)
                {
                    _block.AddLiteral(cluster[at - 1]);
                }

                isWaiting = true;
                waitingLength = length;
                waitingDistance = distance;
                at++;
            }

            // The byte before is still waiting; with a match, if the block is full. It then becomes a literal all the same.
            if (isWaiting)
            {
                _block.AddLiteral(cluster[at - 1]);
            }

            return at;
        }
    }

    /// <summary>Finds a match longer than a given one.</summary>
    private int FindMatch(ReadOnlySpan<byte> cluster, int at, int longest, out int distance)
    {
        unchecked
        {
            distance = 0;
            ref byte here = ref Unsafe.Add(ref MemoryMarshal.GetReference(cluster), at);
            int most = Math.Min(LongestMatch, cluster.Length - at);
            int place = _origin + at;
            uint four = Load32(ref here, 0);
            int candidate = _latest[Hash(four)];
            int best = Math.Max(longest, LeastMatch);
            for (int left = MostCandidates; left > 0 && place - candidate <= WindowBytes; left--)
            {
                ref byte there = ref Unsafe.Add(ref here, candidate - place);
                // A match can be longer than the best so far only if the byte after that length is equal too.
                if (best < most && Unsafe.Add(ref there, best) == Unsafe.Add(ref here, best) && Load32(ref there, 0) == four)
                {
                    int length = CountEqual(ref here, ref there, most);
                    if (length > best)
                    {
                        best = length;
                        distance = place - candidate;
                        if (length == most)
                        {
                            break;
                        }
                    }
                }

                candidate = _earlier[candidate & (WindowBytes - 1)];
            }

            if (distance != 0)
            {
                return best;
            }

            int shortCandidate = _latestShort[HashShort(four)];
            if (longest < LeastMatch && place - shortCandidate <= WindowBytes
                && ((Load32(ref Unsafe.Add(ref here, shortCandidate - place), 0) ^ four) & 0xFFFFFF) == 0)
            {
                distance = place - shortCandidate;
                return LeastMatch;
            }

            return 0;
        }
    }

    private void Remember(ReadOnlySpan<byte> cluster, int at)
    {
        unchecked
        {
            uint four = Load32(ref MemoryMarshal.GetReference(cluster), at);
            int place = _origin + at;
            ref int latest = ref _latest[Hash(four)];
            _earlier[place & (WindowBytes - 1)] = latest;
            latest = place;
            _latestShort[HashShort(four)] = place;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int CountEqual(ref byte here, ref byte there, int most)
    {
        unchecked
        {
            int equal = 0;
            for (; equal <= most - sizeof(ulong); equal += sizeof(ulong))
            {
                ulong differences = Load64(ref here, equal) ^ Load64(ref there, equal);
                if (differences != 0)
                {
                    return equal + (BitOperations.TrailingZeroCount(differences) / 8);
                }
            }

            while (equal < most && Unsafe.Add(ref here, equal) == Unsafe.Add(ref there, equal))
            {
                equal++;
            }

            return equal;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Hash(uint four) => unchecked((four * 0x9E3779B1) >> (32 - HashBits));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint HashShort(uint four) => unchecked(((four << 8) * 0x9E3779B1) >> (32 - ShortHashBits));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Load32(ref byte origin, int offset) =>
        BinaryPrimitives.ReadUInt32LittleEndian(MemoryMarshal.CreateReadOnlySpan(ref Unsafe.Add(ref origin, offset), sizeof(uint)));

    private static ulong Load64(ref byte origin, nint offset) =>
        BinaryPrimitives.ReadUInt64LittleEndian(MemoryMarshal.CreateReadOnlySpan(ref Unsafe.Add(ref origin, offset), sizeof(ulong)));
}
