using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>The minimum length of a file that contains everything its image refers to. A shorter file was probably not copied
/// completely.</summary>
/// <remarks>
/// Only tables are read, each once; if tables overlap so much that they are longer than the file, <see cref="TableScanner"/> stops.
/// Reference counts are not enough: a repair lowers those of clusters past the end. The end is exact to the byte, as QEMU may end a file
/// inside its last cluster: after the last sector with compressed data, the last subcluster with data, or the disk's end. Clusters that
/// read as zeros need no bytes.
/// </remarks>
internal sealed partial class NamedEnd
{
    private readonly ImageHandle _image;
    private readonly ImageStorage _storage;
    private readonly ImageGeometry _geometry;
    private readonly TableScanner _scanner;
    private ulong _end;
    private string _what = "";
    // Whether tables were left out because together they are longer than the file.
    private bool _isIncomplete;

    private NamedEnd(ImageHandle image)
    {
        _image = image;
        _storage = image.Storage;
        _geometry = image.Geometry;
        _scanner = new TableScanner(image.Storage);
    }

    /// <summary>Looks at an image's own file.</summary>
    /// <returns>What is missing; null where the file has all that the tables name which can be read.</returns>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<FormatFault?> FindFaultAsync(ImageHandle image, CancellationToken cancellationToken)
    {
        var named = new NamedEnd(image);
        await named.AddRefcountsAsync(cancellationToken).ConfigureAwait(false);
        await named.AddGuestAsync(cancellationToken).ConfigureAwait(false);
        await named.AddBitmapsAsync(cancellationToken).ConfigureAwait(false);
        return FaultOf("file", image.Storage.Length, named._end, named._what);
    }

    /// <summary>Finds the end of the last cluster that the image refers to, to the byte or earlier in the same cluster.</summary>
    /// <returns>The end, in bytes from the start of the file; null where not all tables can be read.</returns>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<ulong?> FindAsync(ImageHandle image, CancellationToken cancellationToken)
    {
        var named = new NamedEnd(image);
        ImageContents contents = image.Contents;
        Qcow2Header header = image.Header;
        named.Add(0, header.ClusterSizeBytes, "the header ends");
        named.Add(header.RefcountTableOffset, header.RefcountTableBytes, "the refcount table ends");
        named.Add(header.SnapshotsOffset, contents.Snapshots.LengthBytes, "the snapshot table ends");
        if (contents.First.Bitmaps is { } directory)
        {
            named.Add(directory.DirectoryOffset, contents.Bitmaps.ReachedBytes, "the bitmap directory ends");
        }

        if (contents.First.CryptoHeader is { } crypto)
        {
            named.Add(crypto.Offset, (long)Math.Min(crypto.Length, Faults.MaxOffset), "the encryption header ends");
        }

        await named.AddRefcountsAsync(cancellationToken).ConfigureAwait(false);
        await named.AddGuestAsync(cancellationToken).ConfigureAwait(false);
        await named.AddBitmapsAsync(cancellationToken).ConfigureAwait(false);
        return named._isIncomplete || named._scanner.TakeRefusal() ? null : named._end;
    }

    /// <summary>Looks at an image's external data file.</summary>
    /// <returns>What is missing; null where the file is whole.</returns>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async ValueTask<FormatFault?> FindDataFileFaultAsync(
        ImageHandle image, ImageStorage data, CancellationToken cancellationToken)
    {
        var named = new NamedEnd(image);
        await named.AddDataFileAsync(cancellationToken).ConfigureAwait(false);
        return FaultOf($"external data file '{data.Name}'", data.Length, named._end, named._what);
    }

    private static FormatFault? FaultOf(string structure, long length, ulong end, string what) => end <= (ulong)length
        ? null
        : new FormatFault(
            FaultCode.FileTruncated,
            structure,
            "end",
            (ulong)length,
            "before clusters that it names",
            $"0x{end:x} or behind it, where {what}: it was probably not copied whole, and what is missing reads as zeros");

    private void Add(ulong offset, long bytes, string what)
    {
        // Offsets of broken headers and entries reach up to 2^64.
        ulong end = offset > ulong.MaxValue - (ulong)bytes ? ulong.MaxValue : offset + (ulong)bytes;
        if (bytes > 0 && end > _end)
        {
            (_end, _what) = (end, what);
        }
    }

    /// <summary>Reads the part of a table that the file contains, in pieces without holes.</summary>
    /// <param name="offset">Where the table starts; may lie anywhere.</param>
    /// <param name="entries">How many entries of 8 bytes it claims to have.</param>
    /// <param name="take">Receives the index of a piece's first entry, and the entries.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    private async ValueTask ReadTableAsync(
        ulong offset, long entries, Action<long, ReadOnlyMemory<byte>> take, CancellationToken cancellationToken)
    {
        (long start, long end) = _scanner.Clip(offset, entries * ImageGeometry.TableEntryBytes);
        long position = start;
        while (await _scanner.NextAsync(position, end, cancellationToken).ConfigureAwait(false) is { Bytes.IsEmpty: false } piece)
        {
            take((piece.Offset - start) / ImageGeometry.TableEntryBytes, piece.Bytes);
            position = piece.EndOffset;
        }
    }

    /// <summary>Adds the starts of the refcount blocks: without them the next writer would take used clusters for free ones.</summary>
    /// <remarks>Their ends are not required: QEMU may not have written all of the last one.</remarks>
    private ValueTask AddRefcountsAsync(CancellationToken cancellationToken)
    {
        Qcow2Header header = _image.Header;
        Add(header.RefcountTableOffset, 1, "the refcount table starts");
        return ReadTableAsync(
            header.RefcountTableOffset,
            header.RefcountTableBytes / ImageGeometry.TableEntryBytes,
            (_, bytes) =>
            {
                foreach (ulong raw in MemoryMarshal.Cast<byte, ulong>(bytes.Span))
                {
                    ulong block = new RefcountTableEntry(BinaryPrimitives.ReverseEndianness(raw)).BlockOffset;
                    if (block != 0 && _geometry.IsClusterAligned(block))
                    {
                        Add(block, 1, "a refcount block starts");
                    }
                }
            },
            cancellationToken);
    }

    private async ValueTask AddBitmapsAsync(CancellationToken cancellationToken)
    {
        if (!_image.Header.AutoclearFeatures.HasFlag(AutoclearFeatures.Bitmaps))
        {
            // A lenient reader lists them, but their clusters may have been reused or removed.
            return;
        }

        foreach (BitmapInfo bitmap in _image.Contents.Bitmaps.Bitmaps.Where(static bitmap => bitmap.Faults.Count == 0))
        {
            string name = bitmap.Name;
            Add(bitmap.TableOffset, bitmap.TableBytes, $"the table of bitmap '{name}' ends");
            var geometry = new BitmapGeometry(
                _image.Geometry.VirtualSizeBytes, BitmapGranularity.BitsOf(bitmap.GranularityBytes), _geometry.ClusterBits + 3);
            string what = $"bits of bitmap '{name}' end";
            await ReadTableAsync(
                bitmap.TableOffset,
                bitmap.TableEntries,
                (first, bytes) => AddBits(MemoryMarshal.Cast<byte, ulong>(bytes.Span), (int)first, geometry, what),
                cancellationToken).ConfigureAwait(false);
        }
    }

    private void AddBits(ReadOnlySpan<ulong> words, int firstPage, BitmapGeometry geometry, string what)
    {
        for (int i = 0; i < words.Length; i++)
        {
            var entry = new BitmapTableEntry(BinaryPrimitives.ReverseEndianness(words[i]));
            if (entry.HasData && entry.Check(_geometry.ClusterBits) == FaultCode.None)
            {
                // A bitmap that was not saved may have been made for another size of the disk.
                int page = firstPage + i;
                Add(entry.Offset, page < geometry.PageCount ? (long)geometry.WordsIn(page) * sizeof(ulong) : 1, what);
            }
        }
    }
}
