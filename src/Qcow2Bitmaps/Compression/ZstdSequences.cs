using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Qcow2Bitmaps.Compression;

/// <summary>Executes the sequences of blocks: literals, then a copy of what was made before. RFC 8878, 3.1.1.3.2 and 3.1.1.4.</summary>
internal sealed class ZstdSequences
{
    private const int LoadBytes = sizeof(ulong);

    // After a load at least 57 bits are there; the three states take 9 + 9 + 8 of them, so this is left for lengths and offset.
    private const int FurtherBitsPerLoad = 57 - 26;

    // An offset of more bits is longer than any cluster. With the lengths' 16 + 16 bits it still fits one load.
    private const int MaxOffsetBits = 24;
    private const int VectorBytes = 16;

    private readonly FseTable _ownLiteralsLengths = new(9);
    private readonly FseTable _ownOffsets = new(8);
    private readonly FseTable _ownMatchLengths = new(9);
    private FseTable? _literalsLengths;
    private FseTable? _offsets;
    private FseTable? _matchLengths;
    private nuint _repeated1;
    private nuint _repeated2;
    private nuint _repeated3;

    /// <summary>Forgets the tables and offsets of the frame before.</summary>
    public void StartFrame()
    {
        _literalsLengths = null;
        _offsets = null;
        _matchLengths = null;
        _repeated1 = 1;
        _repeated2 = 4;
        _repeated3 = 8;
    }

    /// <summary>Makes a block out of its sequences section and its literals.</summary>
    /// <param name="input">What holds the block, with at least 8 bytes before it.</param>
    /// <param name="start">Where the sequences section starts.</param>
    /// <param name="end">Where the block ends.</param>
    /// <param name="literals">The literals, and <see cref="WideMemory.Slack"/> bytes or more behind them.</param>
    /// <param name="literalCount">How many literals there are.</param>
    /// <param name="output">From the frame's start.</param>
    /// <param name="made">How much of it is made; then, with this block.</param>
    /// <param name="limit">Where the block ends at the latest.</param>
    /// <param name="tooMuch">What is wrong if it does not.</param>
    /// <returns>What is wrong, or <see cref="CompressionFault.None"/>.</returns>
    public CompressionFault Execute(
        ReadOnlySpan<byte> input, int start, int end, ReadOnlySpan<byte> literals, int literalCount,
        Span<byte> output, ref int made, int limit, CompressionFault tooMuch)
    {
        ReadOnlySpan<byte> section = input[start..end];
        if (!TryReadCount(section, out int count, out int used))
        {
            return CompressionFault.ZstdSequences;
        }

        if (count == 0)
        {
            if (used != section.Length)
            {
                return CompressionFault.ZstdSequences;
            }

            literals[..literalCount].CopyTo(output[made..]);
            made += literalCount;
            return CompressionFault.None;
        }

        if (used >= section.Length || (section[used] & 3) != 0)
        {
            return CompressionFault.ZstdSequences;
        }

        int modes = section[used++];
        CompressionFault fault = ReadTable(
            section, ref used, modes >> 6, SequenceCode.LiteralsLength, _ownLiteralsLengths, ref _literalsLengths);
        if (fault == CompressionFault.None)
        {
            fault = ReadTable(section, ref used, (modes >> 4) & 3, SequenceCode.Offset, _ownOffsets, ref _offsets);
        }

        if (fault == CompressionFault.None)
        {
            fault = ReadTable(section, ref used, (modes >> 2) & 3, SequenceCode.MatchLength, _ownMatchLengths, ref _matchLengths);
        }

        if (fault != CompressionFault.None)
        {
            return fault;
        }

        return used == section.Length || section[^1] == 0
            ? CompressionFault.ZstdSequenceStream
            : Execute(input, start + used, end, count, literals, literalCount, output, ref made, limit, tooMuch);
    }

    private static bool TryReadCount(ReadOnlySpan<byte> section, out int count, out int used)
    {
        const int LongForm = 255;
        const int LongFormBase = 0x7F00;
        count = 0;
        used = 0;
        if (section.IsEmpty)
        {
            return false;
        }

        int first = section[0];
        used = first < 128 ? 1 : first < LongForm ? 2 : 3;
        if (section.Length < used)
        {
            return false;
        }

        count = used switch
        {
            1 => first,
            2 => ((first - 128) << 8) + section[1],
            _ => section[1] + (section[2] << 8) + LongFormBase,
        };
        return true;
    }

    private static CompressionFault ReadTable(
        ReadOnlySpan<byte> section, ref int used, int mode, SequenceCode code, FseTable own, ref FseTable? table)
    {
        switch (mode)
        {
            case 0:
                table = code.Predefined;
                return CompressionFault.None;
            case 1:
                if (used >= section.Length || section[used] >= code.Meanings.Length)
                {
                    return CompressionFault.ZstdFseTable;
                }

                table = own.BuildSingle(code.Meanings[section[used++]]);
                return CompressionFault.None;
            case 2:
                Span<short> probabilities = stackalloc short[code.Meanings.Length];
                if (!FseDistribution.TryRead(section[used..], code.MaxAccuracyLog, probabilities, out int accuracyLog, out int length))
                {
                    return CompressionFault.ZstdFseTable;
                }

                used += length;
                table = own.Build(probabilities, accuracyLog, code.Meanings);
                return CompressionFault.None;
            default:
                return table is null ? CompressionFault.ZstdNoFseTable : CompressionFault.None;
        }
    }

    /// <summary>The loop over sequences: each is decoded from one load of bits, and executed at once.</summary>
    /// <remarks>
    /// Loads reach at most 8 bytes before the stream, which the caller has shown to be there, and never happen once bits have run out. Wide
    /// copies are used where <see cref="WideMemory.Slack"/> bytes of output are left behind what they make.
    /// </remarks>
    private CompressionFault Execute(
        ReadOnlySpan<byte> input, int start, int end, int count, ReadOnlySpan<byte> literals, int literalCount,
        Span<byte> output, ref int made, int limit, CompressionFault tooMuch)
    {
        unchecked
        {
            ref byte stream = ref Unsafe.Add(ref MemoryMarshal.GetReference(input), start);
            ref byte literal = ref MemoryMarshal.GetReference(literals);
            ref byte target = ref MemoryMarshal.GetReference(output);
            ref ulong literalsLengthCells = ref _literalsLengths!.FirstCell;
            ref ulong offsetCells = ref _offsets!.FirstCell;
            ref ulong matchLengthCells = ref _matchLengths!.FirstCell;
            nuint repeated1 = _repeated1;
            nuint repeated2 = _repeated2;
            nuint repeated3 = _repeated3;
            nint at = made;
            nint literalAt = 0;
            nint wideLimit = Math.Min(limit, output.Length - WideMemory.Slack);

            nint bits = ((nint)(end - start) * 8) - BackwardBits.CountPadding(input[end - 1]);
            int stateBits = _literalsLengths.AccuracyLog;
            ulong word = Load(ref stream, bits);
            nint literalsLengthState = (nint)Top(word, stateBits);
            int taken = stateBits;
            nint offsetState = (nint)Top(word << taken, _offsets.AccuracyLog);
            taken += _offsets.AccuracyLog;
            nint matchLengthState = (nint)Top(word << taken, _matchLengths.AccuracyLog);
            bits -= taken + _matchLengths.AccuracyLog;

            while (true)
            {
                if (bits < 0)
                {
                    return CompressionFault.ZstdSequenceStream;
                }

                word = Load(ref stream, bits);
                ulong offsetCell = Unsafe.Add(ref offsetCells, offsetState);
                ulong matchLengthCell = Unsafe.Add(ref matchLengthCells, matchLengthState);
                ulong literalsLengthCell = Unsafe.Add(ref literalsLengthCells, literalsLengthState);
                int offsetBits = (byte)offsetCell;
                int lengthStart = offsetBits + (byte)matchLengthCell;
                int further = lengthStart + (byte)literalsLengthCell;
                nuint offset = (nuint)((offsetCell >> 32) + Top(word, offsetBits));
                nint matchLength = (nint)((matchLengthCell >> 32) + Top(word << offsetBits, (byte)matchLengthCell));
                nint literalsLength = (nint)((literalsLengthCell >> 32) + Top(word << lengthStart, (byte)literalsLengthCell));
                bits -= further;
                count--;
                if (count != 0)
                {
                    if (further <= FurtherBitsPerLoad)
                    {
                        word <<= further;
                    }
                    else if (offsetBits > MaxOffsetBits)
                    {
                        return CompressionFault.ZstdOffset;
                    }
                    else if (bits < 0)
                    {
                        return CompressionFault.ZstdSequenceStream;
                    }
                    else
                    {
                        word = Load(ref stream, bits);
                    }

                    int literalsLengthStateBits = FseTable.NextBits(literalsLengthCell);
                    int matchLengthStateBits = FseTable.NextBits(matchLengthCell);
                    int offsetStateBits = FseTable.NextBits(offsetCell);
                    int offsetStart = literalsLengthStateBits + matchLengthStateBits;
                    literalsLengthState = FseTable.NextBase(literalsLengthCell) + (nint)Top(word, literalsLengthStateBits);
                    matchLengthState = FseTable.NextBase(matchLengthCell)
                        + (nint)Top(word << literalsLengthStateBits, matchLengthStateBits);
                    offsetState = FseTable.NextBase(offsetCell) + (nint)Top(word << offsetStart, offsetStateBits);
                    bits -= offsetStart + offsetStateBits;
                }

                if (offsetBits > 1)
                {
                    offset -= 3;
                    repeated3 = repeated2;
                    repeated2 = repeated1;
                    repeated1 = offset;
                }
                else
                {
                    // One of the last three; without literals one further, as the first would have made the last match longer.
                    nuint which = literalsLength == 0 ? offset + 1 : offset;
                    if (which == 1)
                    {
                        offset = repeated1;
                    }
                    else
                    {
                        offset = which == 2 ? repeated2 : which == 3 ? repeated3 : repeated1 - 1;
                        repeated3 = which == 2 ? repeated3 : repeated2;
                        repeated2 = repeated1;
                        repeated1 = offset;
                    }
                }

                nint matchAt = at + literalsLength;
                nint next = matchAt + matchLength;
                if (literalsLength > literalCount - literalAt)
                {
                    return CompressionFault.ZstdLiteralsLength;
                }

                // An offset of zero, which can only be the first one less one, wraps to the highest.
                if (offset - 1 >= (nuint)matchAt)
                {
                    return CompressionFault.ZstdOffset;
                }

                nint matchFrom = matchAt - (nint)offset;
                if (next <= wideLimit)
                {
                    WideMemory.Copy(ref literal, literalAt, ref target, at, literalsLength);
                    if (offset >= VectorBytes)
                    {
                        WideMemory.Copy(ref target, matchFrom, ref target, matchAt, matchLength);
                    }
                    else
                    {
                        Repeat(ref target, matchFrom, matchAt, matchLength, (int)offset);
                    }
                }
                else if (next <= limit)
                {
                    literals.Slice((int)literalAt, (int)literalsLength).CopyTo(output[(int)at..]);
                    for (nint i = 0; i < matchLength; i++)
                    {
                        output[(int)(matchAt + i)] = output[(int)(matchFrom + i)];
                    }
                }
                else
                {
                    return tooMuch;
                }

                literalAt += literalsLength;
                at = next;
                if (count == 0)
                {
                    break;
                }
            }

            if (bits != 0)
            {
                return CompressionFault.ZstdSequenceStream;
            }

            _repeated1 = repeated1;
            _repeated2 = repeated2;
            _repeated3 = repeated3;
            ReadOnlySpan<byte> rest = literals[(int)literalAt..literalCount];
            if (rest.Length > limit - at)
            {
                return tooMuch;
            }

            rest.CopyTo(output[(int)at..]);
            made = (int)at + rest.Length;
            return CompressionFault.None;
        }
    }

    /// <summary>The next bits on top; at least 57 of them are the stream's, if it has so many.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Load(ref byte stream, nint bits) =>
        unchecked(WideMemory.Load64(ref stream, ((bits + 7) >> 3) - LoadBytes) << ((int)-bits & 7));

    /// <summary>The topmost bits of a word, of which there may be none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Top(ulong word, int count) => unchecked((word >> 1) >> (63 - count));

    /// <summary>Repeats the last few bytes, fewer than 16, by vectors of whole repetitions that overlap.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Repeat(ref byte target, nint from, nint to, nint length, int period)
    {
        unchecked
        {
            Vector128<byte> indices = Vector128.LoadUnsafe(ref MemoryMarshal.GetReference(PeriodicIndices), (nuint)(period * VectorBytes));
            Vector128<byte> pattern = Vector128.Shuffle(Vector128.LoadUnsafe(ref target, (nuint)from), indices);
            nint step = VectorBytes - (VectorBytes % period);
            for (nint i = 0; i < length; i += step)
            {
                pattern.StoreUnsafe(ref target, (nuint)(to + i));
            }
        }
    }

    /// <summary>For each period below 16, the indices 0..15 modulo the period.</summary>
    private static ReadOnlySpan<byte> PeriodicIndices =>
    [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1,
        0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0,
        0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3,
        0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0,
        0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3,
        0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1,
        0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7,
        0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4, 5, 6,
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5,
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1, 2, 3, 4,
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3,
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 1, 2,
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0, 1,
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0,
    ];
}
