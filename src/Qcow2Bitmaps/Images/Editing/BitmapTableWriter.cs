using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Images.Writing;

namespace Qcow2Bitmaps.Images.Editing;

/// <summary>Writes the bits of a bitmap and their table to new clusters, in bounded memory; unchanged pages keep their clusters.</summary>
internal sealed class BitmapTableWriter(MetadataWriter writer, ImageGeometry image)
{
    private const int BufferBytes = 2 << 20;

    private ulong[] _buffer = new ulong[Math.Max(BufferBytes, image.ClusterSizeBytes) / sizeof(ulong)];
    private ulong[] _other = [];
    private Task _writing = Task.CompletedTask;
    private HostOffset _bufferOffset;
    private int _bufferWords;

    /// <summary>Writes a bitmap.</summary>
    /// <returns>The table's entries, as they are on disk.</returns>
    public async ValueTask<ulong[]> WriteBitsAsync(EditedContent content, CancellationToken cancellationToken)
    {
        var geometry = BitmapGeometry.Of(content);
        var table = new ulong[geometry.PageCount];
        try
        {
            for (int page = 0; page < table.Length; page++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                BitmapTableEntry entry = content.KeptEntry(page)
                    ?? await WritePageAsync(content, geometry, page, cancellationToken).ConfigureAwait(false);
                table[page] = entry.Raw;
            }

            await FlushAsync(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            // Even after an error: wait for the pending write before anything else is written.
            await _writing.ConfigureAwait(false);
        }

        return table;
    }

    /// <summary>Writes a table to contiguous clusters.</summary>
    /// <returns>Where it starts.</returns>
    public async ValueTask<HostOffset> WriteTableAsync(ulong[] table, CancellationToken cancellationToken)
    {
        byte[] bytes = BigEndianTable.BytesOf(table);
        HostOffset offset = await writer.AllocateAsync(bytes.Length, cancellationToken).ConfigureAwait(false);
        await writer.WriteAsync(offset, bytes, cancellationToken).ConfigureAwait(false);
        return offset;
    }

    private async ValueTask<BitmapTableEntry> WritePageAsync(
        EditedContent content, BitmapGeometry geometry, int page, CancellationToken cancellationToken)
    {
        int bits = geometry.BitsIn(page);
        switch (content.KindOf(page))
        {
            case BitmapPageKind.AllClean:
                return BitmapTableEntry.AllZeroes;
            case BitmapPageKind.AllDirty when IsWholeWords(bits):
                return BitmapTableEntry.AllOnes;
            default:
                return await WriteBitsAsync(content, bits, page, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask<BitmapTableEntry> WriteBitsAsync(EditedContent content, int bits, int page, CancellationToken cancellationToken)
    {
        int clusterWords = image.ClusterSizeBytes / sizeof(ulong);
        int used = BitmapGeometry.WordsFor(bits);
        if (_bufferWords + clusterWords > _buffer.Length)
        {
            await FlushAsync(cancellationToken).ConfigureAwait(false);
        }

        Memory<ulong> words = _buffer.AsMemory(_bufferWords, clusterWords);
        await content.ReadPageAsync(page, words[..used], cancellationToken).ConfigureAwait(false);
        words.Span[used..].Clear();
        if (BitKernels.IsAll(words.Span[..used], 0))
        {
            return BitmapTableEntry.AllZeroes;
        }

        if (IsWholeWords(bits) && BitKernels.IsAll(words.Span[..used], ulong.MaxValue))
        {
            return BitmapTableEntry.AllOnes;
        }

        HostOffset offset = await writer.AllocateAsync(image.ClusterSizeBytes, cancellationToken).ConfigureAwait(false);
        LittleEndianWords.ToHostOrder(words.Span[..used]);
        if (_bufferWords > 0 && offset != _bufferOffset + ((long)_bufferWords * sizeof(ulong)))
        {
            await FlushAsync(cancellationToken).ConfigureAwait(false);
            words.CopyTo(_buffer);
        }

        if (_bufferWords == 0)
        {
            _bufferOffset = offset;
        }

        _bufferWords += clusterWords;
        return BitmapTableEntry.AtOffset(offset.Raw);
    }

    // QEMU applies an all-ones entry to all bits up to the next multiple of 64, even past the disk's end.
    private static bool IsWholeWords(int bits) => (bits & 63) == 0;

    /// <summary>Starts writing the buffer, while the next one is filled.</summary>
    private async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        if (_bufferWords == 0)
        {
            return;
        }

        await _writing.ConfigureAwait(false);
        (_buffer, _other) = (_other.Length > 0 ? _other : new ulong[_buffer.Length], _buffer);
        Memory<ulong> full = _other.AsMemory(0, _bufferWords);
        HostOffset offset = _bufferOffset;
        _bufferWords = 0;
        _writing = writer.BeginWrite(offset, new WordBytes(full), cancellationToken);
    }
}
