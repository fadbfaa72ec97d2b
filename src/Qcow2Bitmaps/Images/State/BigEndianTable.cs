using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.State;

/// <summary>Reads and writes tables of 8-byte big-endian entries: L1, L2, refcount and bitmap tables are all such.</summary>
internal static class BigEndianTable
{
    /// <summary>Reads the entries that the file contains; others take no memory.</summary>
    /// <param name="storage">The image.</param>
    /// <param name="offset">Where the table starts, in bytes; may lie anywhere.</param>
    /// <param name="entries">How many entries the table claims to have, checked against a limit.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public static async ValueTask<ulong[]> ReadAsync(ImageStorage storage, ulong offset, long entries, CancellationToken cancellationToken)
    {
        long length = storage.Length;
        if (offset >= (ulong)length)
        {
            return [];
        }

        var bytes = new byte[(int)Math.Min(entries * ImageGeometry.TableEntryBytes, length - (long)offset)];
        int read = await storage.ReadAsync((long)offset, bytes, cancellationToken).ConfigureAwait(false);
        var table = new ulong[read / ImageGeometry.TableEntryBytes];
        for (int i = 0; i < table.Length; i++)
        {
            table[i] = BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(i * ImageGeometry.TableEntryBytes));
        }

        return table;
    }

    /// <summary>The bytes of a table.</summary>
    public static byte[] BytesOf(ReadOnlySpan<ulong> table)
    {
        var bytes = new byte[table.Length * ImageGeometry.TableEntryBytes];
        for (int i = 0; i < table.Length; i++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(i * ImageGeometry.TableEntryBytes), table[i]);
        }

        return bytes;
    }
}
