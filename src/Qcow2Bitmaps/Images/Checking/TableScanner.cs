using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Reads tables in large pieces, passing over holes.</summary>
/// <remarks>
/// Overlapping tables could make a small file take unlimited time. Tables that do not overlap are read at most twice, and together are no
/// longer than the space that the file occupies; compressing file systems may report less. If tables claim much more than that, reading
/// stops. Not thread-safe.
/// </remarks>
internal sealed class TableScanner
{
    private const int PieceBytes = 1 << 20;

    private const int SectorBytes = 512;
    private const long SmallestReadableBytes = 64 << 20;
    private const int CompressionRatio = 16;

    private readonly ImageStorage _storage;
    private readonly DataFinder _finder;
    private readonly byte[] _buffer;
    private long _readableBytes;
    private bool _wasRefused;

    public TableScanner(ImageStorage storage)
    {
        _storage = storage;
        _finder = new DataFinder(storage);
        LengthBytes = storage.Length;
        _buffer = new byte[Math.Min(PieceBytes, LengthBytes)];
        // A block device occupies nothing of its file system.
        long occupied = storage.CapacityBytes is null ? storage.AllocatedBytes ?? LengthBytes : LengthBytes;
        _readableBytes = (4 * Math.Min(LengthBytes, CompressionRatio * occupied)) + SmallestReadableBytes;
    }

    /// <summary>Whether anything was skipped since the last call.</summary>
    public bool TakeRefusal()
    {
        bool wasRefused = _wasRefused;
        _wasRefused = false;
        return wasRefused;
    }

    /// <summary>The storage's length when the scanner was made, in bytes.</summary>
    public long LengthBytes { get; }

    /// <summary>The part of a table that lies in the file; empty if it starts past the end.</summary>
    public (long Start, long End) Clip(ulong offset, long bytes) =>
        offset < (ulong)LengthBytes ? ((long)offset, (long)offset + Math.Min(bytes, LengthBytes - (long)offset)) : (0, 0);

    /// <summary>Reads the next piece that has data.</summary>
    /// <param name="offset">Where to start, in bytes from the start of the file.</param>
    /// <param name="endOffset">Where to end; everything past the end of the file reads as zeros.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The piece; empty when there is none up to the end, or when so much was read that tables must overlap.</returns>
    public async ValueTask<TablePiece> NextAsync(long offset, long endOffset, CancellationToken cancellationToken)
    {
        endOffset = Math.Min(endOffset, LengthBytes);
        if (offset >= endOffset)
        {
            return default;
        }

        StorageRange found = await _finder.FindAsync(offset, cancellationToken).ConfigureAwait(false);
        long start = found.Offset - ((found.Offset - offset) % SectorBytes);
        if (start >= endOffset)
        {
            return default;
        }

        // Whole entries only.
        int length = (int)Math.Min(Math.Min(endOffset, found.EndOffset) - start, PieceBytes);
        length = (int)Math.Min(endOffset - start, (length + SectorBytes - 1) & -SectorBytes);
        if (_readableBytes < length)
        {
            _wasRefused = true;
            return default;
        }

        _readableBytes -= length;

        int read = await _storage.ReadAsync(start, _buffer.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
        return new TablePiece(start, _buffer.AsMemory(0, read));
    }
}
