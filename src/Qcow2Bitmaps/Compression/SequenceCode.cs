namespace Qcow2Bitmaps.Compression;

/// <summary>A kind of sequence code: the meaning of its symbols and its predefined table. RFC 8878, 3.1.1.3.2.1 and 3.1.1.3.2.2.</summary>
internal sealed class SequenceCode
{
    private readonly ulong[] _meanings;

    private SequenceCode(int maxAccuracyLog, ulong[] meanings, int predefinedAccuracyLog, ReadOnlySpan<short> predefined)
    {
        MaxAccuracyLog = maxAccuracyLog;
        _meanings = meanings;
        Predefined = new FseTable(predefinedAccuracyLog).Build(predefined, predefinedAccuracyLog, meanings);
    }

    /// <summary>How many literals stand before a match.</summary>
    public static SequenceCode LiteralsLength { get; } = new(
        9,
        [
            .. Counted(0, new byte[16]),
            .. Counted(16, [1, 1, 1, 1, 2, 2, 3, 3, 4]),
            .. Counted(64, [6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
        ],
        6,
        [
            4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1,
            -1, -1, -1, -1,
        ]);

    /// <summary>How far back a match is, or which of the last offsets.</summary>
    public static SequenceCode Offset { get; } = new(
        8,
        [.. Enumerable.Range(0, 32).Select(static code => (1UL << (code + 32)) | (uint)code)],
        5,
        [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1]);

    /// <summary>How long a match is.</summary>
    public static SequenceCode MatchLength { get; } = new(
        9,
        [
            .. Counted(3, new byte[32]),
            .. Counted(35, [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5]),
            .. Counted(131, [7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
        ],
        6,
        [
            1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
            1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
        ]);

    /// <summary>The highest logarithm of a table's size.</summary>
    public int MaxAccuracyLog { get; }

    /// <summary>The table that needs no description.</summary>
    public FseTable Predefined { get; }

    /// <summary>The meaning of each symbol, as <see cref="FseTable"/> takes it.</summary>
    public ReadOnlySpan<ulong> Meanings => _meanings;

    /// <summary>Codes whose baselines follow one another: each starts where the one before ends.</summary>
    private static IEnumerable<ulong> Counted(uint baseline, byte[] bits)
    {
        foreach (byte count in bits)
        {
            yield return ((ulong)baseline << 32) | count;
            baseline += 1u << count;
        }
    }
}
