using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Reads refcount blocks that are to be changed.</summary>
internal static class StoredRefcountBlock
{
    /// <summary>Fills a buffer with a block.</summary>
    /// <param name="storage">The image.</param>
    /// <param name="header">Its header.</param>
    /// <param name="index">Which block it is.</param>
    /// <param name="offset">What the refcount table has there.</param>
    /// <param name="bytes">Takes the block; zeros where the file ends within it.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="Qcow2FormatException">The block does not lie in the file.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask ReadAsync(ImageStorage storage, Qcow2Header header, long index, ulong offset, byte[] bytes, CancellationToken cancellationToken)
    {
        bool isOffset = offset <= Faults.MaxOffset - (ulong)bytes.Length;
        if (!isOffset || await storage.ReadZeroFilledAsync((long)offset, bytes, cancellationToken).ConfigureAwait(false) == 0)
        {
            ulong entryOffset = header.RefcountTableOffset + ((ulong)index * ImageGeometry.TableEntryBytes);
            throw new Qcow2FormatException(
                Faults.OfHex(FaultCode.RefcountBlockTruncated, "refcount table", $"entry {index}", entryOffset, offset, "an offset inside the file; 'check -r all' repairs this"), storage.Name);
        }
    }
}
