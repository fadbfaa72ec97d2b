namespace Qcow2Bitmaps.Compression;

/// <summary>The literals of a block, and the Huffman tree that a later block of the frame may use again. RFC 8878, 3.1.1.3.1.</summary>
internal sealed class ZstdLiterals
{
    private const int MaxHeaderBytes = 5;

    private readonly HuffmanTree _tree = new();
    private readonly HuffmanDecoder _decoder = new();
    private readonly byte[] _buffer = new byte[ZstdFrameHeader.BlockLimitBytes + WideMemory.Slack];
    private bool _hasTree;
    private int _placeInInput;

    /// <summary>How many literals the block has.</summary>
    public int Count { get; private set; }

    /// <summary>Forgets the tree of the frame before.</summary>
    public void StartFrame() => _hasTree = false;

    /// <summary>The literals, with <see cref="WideMemory.Slack"/> bytes or more of anything behind them.</summary>
    /// <param name="input">What they were read from.</param>
    public ReadOnlySpan<byte> Padded(ReadOnlySpan<byte> input) => _placeInInput < 0 ? _buffer : input[_placeInInput..];

    /// <summary>Reads a block's literals.</summary>
    /// <param name="input">What holds the block, with at least 8 bytes before it.</param>
    /// <param name="taken">Where the literals section starts; then, where it ends.</param>
    /// <param name="end">Where the block ends.</param>
    /// <param name="room">How many literals there may be.</param>
    /// <param name="tooMany">What is wrong if there are more.</param>
    /// <returns>What is wrong, or <see cref="CompressionFault.None"/>.</returns>
    public CompressionFault Read(ReadOnlySpan<byte> input, ref int taken, int end, int room, CompressionFault tooMany)
    {
        ReadOnlySpan<byte> block = input[taken..end];
        if (block.IsEmpty)
        {
            return CompressionFault.ZstdLiterals;
        }

        bool isHuffman = (block[0] & 2) != 0;
        int format = (block[0] >> 2) & 3;
        int headerLength = isHuffman ? Math.Max(3, format + 2) : (format & 1) == 0 ? 1 : 2 + (format >> 1);
        if (block.Length < headerLength)
        {
            return CompressionFault.ZstdLiterals;
        }

        ulong header = 0;
        for (int i = 0; i < Math.Min(headerLength, MaxHeaderBytes); i++)
        {
            header |= (ulong)block[i] << (8 * i);
        }

        int sizeBits = !isHuffman ? 20 : format < 2 ? 10 : format == 2 ? 14 : 18;
        int sizeStart = !isHuffman && (format & 1) == 0 ? 3 : 4;
        ulong sizeMask = (1UL << sizeBits) - 1;
        int count = (int)((header >> sizeStart) & sizeMask);
        if (count > room)
        {
            return tooMany;
        }

        Count = count;
        taken += headerLength;
        if (!isHuffman)
        {
            return (block[0] & 1) == 0 ? TakeRaw(input, ref taken, end) : TakeRepeated(input, ref taken, end);
        }

        int length = (int)((header >> (sizeStart + sizeBits)) & sizeMask);
        if (length > end - taken)
        {
            return CompressionFault.ZstdLiterals;
        }

        int start = taken;
        taken += length;
        return Decode(input, start, taken, ownsTree: (block[0] & 1) == 0, isSingle: format == 0);
    }

    private CompressionFault TakeRaw(ReadOnlySpan<byte> input, ref int taken, int end)
    {
        if (Count > end - taken)
        {
            return CompressionFault.ZstdLiterals;
        }

        // Where so much input follows that wide copies can read past the end, they stay where they are.
        bool canStay = input.Length - taken - Count >= WideMemory.Slack;
        _placeInInput = canStay ? taken : -1;
        if (!canStay)
        {
            input.Slice(taken, Count).CopyTo(_buffer);
        }

        taken += Count;
        return CompressionFault.None;
    }

    private CompressionFault TakeRepeated(ReadOnlySpan<byte> input, ref int taken, int end)
    {
        if (taken >= end)
        {
            return CompressionFault.ZstdLiterals;
        }

        _placeInInput = -1;
        _buffer.AsSpan(0, Count).Fill(input[taken++]);
        return CompressionFault.None;
    }

    private CompressionFault Decode(ReadOnlySpan<byte> input, int start, int end, bool ownsTree, bool isSingle)
    {
        if (ownsTree)
        {
            _hasTree = false;
            if (!_tree.TryRead(input[start..end], out int treeBytes))
            {
                return CompressionFault.ZstdHuffmanTree;
            }

            _decoder.Build(_tree);
            _hasTree = true;
            start += treeBytes;
        }

        if (!_hasTree)
        {
            return CompressionFault.ZstdNoHuffmanTree;
        }

        _placeInInput = -1;
        Span<byte> literals = _buffer.AsSpan(0, Count);
        bool isGood = isSingle
            ? _decoder.TryDecodeOne(input, start, end, literals)
            : _decoder.TryDecodeFour(input, start, end, literals);
        return isGood ? CompressionFault.None : CompressionFault.ZstdHuffmanStream;
    }
}
