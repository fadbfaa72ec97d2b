using System.Runtime.CompilerServices;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>A disk as its guest sees it: bytes at offsets, and a map that shows, without reading data, which parts are zeros.</summary>
/// <remarks>
/// <para>
/// A backing chain, one internal snapshot of it, a writer of an image, a recording session and a raw file are disks. A read-only disk
/// overrides <see cref="Name"/>, <see cref="SizeBytes"/> and <see cref="ReadAsync(long, Memory{byte}, CancellationToken)"/>; a writable one
/// also overrides <see cref="CanWrite"/>, <see cref="WriteAsync(long, ReadOnlyMemory{byte}, CancellationToken)"/> and
/// <see cref="FlushAsync"/>. All other members have correct, if slow, defaults.
/// </para>
/// <para>Calls may run concurrently from any threads; overlapping writes complete in any order.</para>
/// </remarks>
public abstract class Disk : IAsyncDisposable
{
    /// <summary>The smallest part of a disk that hardware writes, in bytes.</summary>
    private protected const int SectorBytes = 512;

    private const int ZeroBufferBytes = 1 << 20;

    private static readonly byte[] s_zeros = new byte[ZeroBufferBytes];

    /// <summary>The largest disk, in bytes: QEMU's limit, 2^63 - 2^30.</summary>
    public const long MaxSizeBytes = long.MaxValue / (1L << 30) * (1L << 30);

    /// <summary>Takes the bytes of a storage as a raw disk. It can be written if the storage can.</summary>
    /// <param name="storage">The storage, which stays open when the disk is disposed.</param>
    /// <returns>The disk. Its size is what the storage has now, in whole sectors of 512 bytes, rounded up as QEMU does.</returns>
    /// <exception cref="IOException">The storage is longer than a disk may be.</exception>
    public static Disk OpenRaw(ImageStorage storage) => new RawDisk(storage);

    /// <summary>Makes a raw image: a file of zeros, as long as the disk; an existing file is overwritten. A block device keeps its bytes
    /// and must be large enough.</summary>
    /// <param name="path">The path.</param>
    /// <param name="sizeBytes">The disk's size in bytes, rounded up to whole sectors of 512.</param>
    /// <param name="preallocation">The space that the file gets: none, so that it is sparse, or all; there are no
    /// <see cref="Preallocation.Metadata"/>.</param>
    /// <param name="cancellationToken">Ends the making; a file that was made is removed again.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is negative, or above <see cref="MaxSizeBytes"/>.</exception>
    /// <exception cref="ArgumentException">A raw image has no such preallocation.</exception>
    /// <exception cref="Qcow2UnsupportedException">Space is to be taken on a block device.</exception>
    /// <exception cref="ImageLockedException">Somebody else has the file open.</exception>
    /// <exception cref="NoSpaceException">The block device is too small.</exception>
    /// <exception cref="IOException">The file cannot be made, or there is no space for it.</exception>
    /// <exception cref="UnauthorizedAccessException">The permissions forbid it.</exception>
    public static Task CreateRawAsync(
        string path, long sizeBytes, Preallocation preallocation = Preallocation.Off, CancellationToken cancellationToken = default) =>
        RawImage.CreateAsync(path, sizeBytes, preallocation, FileRights.Plain, cancellationToken);

    /// <summary>What the disk is called in messages: a path, or a description.</summary>
    public abstract string Name { get; }

    /// <summary>The disk's size in bytes.</summary>
    public abstract long SizeBytes { get; }

    /// <summary>The preferred write size in bytes, a power of two, and the length of a compressed cluster.</summary>
    public virtual int ClusterBytes => SectorBytes;

    /// <summary>Whether the disk can be written.</summary>
    public virtual bool CanWrite => false;

    /// <summary>Whether <see cref="WriteCompressedAsync"/> is possible.</summary>
    public virtual bool CanCompress => false;

    /// <summary>
    /// Equal, by <see cref="object.Equals(object)"/>, for two disks that read and write the same image, so that none is copied onto itself:
    /// what <see cref="ImageStorage.Identity"/> of its file says, or the disk itself where that is not known.
    /// </summary>
    public virtual object Identity => Storages.FirstOrDefault() is { } own ? own.Identity ?? own : this;

    /// <summary>The smallest part that can be left out of a copy, in bytes, a power of two: a cluster, or a subcluster.</summary>
    internal virtual int SubclusterBytes => ClusterBytes;

    /// <summary>Whether zeros must be written even where the map already shows zeros.</summary>
    internal virtual bool HoldsZeros => false;

    /// <summary>Whether a backing image shows through where the disk's own image has nothing.</summary>
    internal virtual bool HasBacking => false;

    /// <summary>The files that are read; the disk's own image is the first.</summary>
    internal virtual IEnumerable<ImageStorage> Storages => [];

    /// <summary>Reads what the guest sees.</summary>
    /// <param name="offsetBytes">Where to start, in bytes, not negative; may lie past the end.</param>
    /// <param name="buffer">Takes the bytes.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The number of bytes read: less than the buffer's length only at the disk's end.</returns>
    /// <exception cref="Qcow2FormatException">A table has an invalid entry, or a compressed cluster is broken.</exception>
    /// <exception cref="Qcow2UnsupportedException">An image is encrypted, or its data file's name is refused.</exception>
    /// <exception cref="IOException">The disk cannot be read.</exception>
    public abstract ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default);

    /// <summary>Reads an extent of <see cref="ListAsync"/>, or a part of one, without searching tables again.</summary>
    /// <param name="extent">The extent; nothing may have been written there since it was listed.</param>
    /// <param name="buffer">Takes the bytes: as many as the extent has, or fewer.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <inheritdoc cref="ReadAsync(long, Memory{byte}, CancellationToken)" path="/exception"/>
    public virtual ValueTask ReadAsync(DiskExtent extent, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (!extent.IsZero)
        {
            return ReadFilledAsync(extent.OffsetBytes, buffer, cancellationToken);
        }

        buffer.Span.Clear();
        return ValueTask.CompletedTask;
    }

    /// <summary>Lists how the data of a range are stored, from tables alone. The default, for a disk without a map, lists everything as
    /// data.</summary>
    /// <param name="offsetBytes">Where to start, in bytes.</param>
    /// <param name="endBytes">Where to end at the latest, at most <see cref="SizeBytes"/>.</param>
    /// <param name="extents">Takes the extents, in ascending order without gaps.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>Where the list ends: after the start, and before the requested end where a longer list would take much memory.</returns>
    /// <exception cref="Qcow2FormatException">A table has an invalid entry.</exception>
    /// <exception cref="IOException">The disk cannot be read.</exception>
    public virtual ValueTask<long> ListAsync(
        long offsetBytes, long endBytes, List<DiskExtent> extents, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(extents);
        extents.Add(new DiskExtent(offsetBytes, endBytes - offsetBytes, ExtentKind.Data, null));
        return ValueTask.FromResult(endBytes);
    }

    /// <summary>Lists how the data of a range are stored, and in which image, from tables alone.</summary>
    /// <param name="offsetBytes">Where to start on the disk, in bytes, not negative.</param>
    /// <param name="lengthBytes">How much to list, in bytes; to the disk's end when null.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>Extents in ascending order without gaps; neighbours that continue one another are one.</returns>
    /// <inheritdoc cref="ListAsync" path="/exception"/>
    public async IAsyncEnumerable<DiskExtent> MapAsync(
        long offsetBytes = 0, long? lengthBytes = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offsetBytes);
        bool isBounded = lengthBytes < long.MaxValue - offsetBytes;
        long end = Math.Min(SizeBytes, isBounded ? offsetBytes + lengthBytes!.Value : long.MaxValue);
        var extents = new List<DiskExtent>();
        while (offsetBytes < end)
        {
            offsetBytes = await ListCheckedAsync(offsetBytes, end, extents, cancellationToken).ConfigureAwait(false);
            // The last extent may continue in the next list.
            for (int i = 0; i < extents.Count - 1; i++)
            {
                yield return extents[i];
            }

            extents.RemoveRange(0, extents.Count - 1);
        }

        foreach (DiskExtent extent in extents)
        {
            yield return extent;
        }
    }

    /// <summary>Opens the disk as a stream that can be read and sought in. Several may be open at once; each is for one reader at a
    /// time.</summary>
    /// <returns>The stream; it must not outlive the disk.</returns>
    public Stream OpenStream() => new DiskStream(this);

    /// <summary>Writes bytes.</summary>
    /// <param name="offsetBytes">Where on the disk, in bytes; any alignment.</param>
    /// <param name="bytes">The bytes; they must not change until the call returns.</param>
    /// <param name="cancellationToken">Cancels the writing; how much was written by then is unknown.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range is outside the disk.</exception>
    /// <exception cref="Qcow2UnsupportedException">The disk is open for reading only.</exception>
    /// <exception cref="NoSpaceException">There is no space; some of the bytes may have been written.</exception>
    /// <exception cref="Qcow2FormatException">A table has an invalid entry, or one that points to a structure of the image.</exception>
    /// <exception cref="IOException">The disk cannot be written.</exception>
    public virtual ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default) =>
        throw ReadOnly();

    /// <summary>Makes a range read as zeros, whatever the image or a backing image has there.</summary>
    /// <param name="offsetBytes">Where it starts on the disk, in bytes; any alignment.</param>
    /// <param name="lengthBytes">Its length in bytes.</param>
    /// <param name="mayUnmap">Whether its space may be freed; otherwise it stays allocated.</param>
    /// <param name="cancellationToken">Ends the work, between parts.</param>
    /// <inheritdoc cref="WriteAsync(long, ReadOnlyMemory{byte}, CancellationToken)" path="/exception"/>
    public virtual async ValueTask WriteZerosAsync(
        long offsetBytes, long lengthBytes, bool mayUnmap = false, CancellationToken cancellationToken = default)
    {
        foreach ((long offset, ReadOnlyMemory<byte> zeros) in ZerosOf(offsetBytes, lengthBytes))
        {
            await WriteAsync(offset, zeros, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Discards the data of a range. A hint: a disk that cannot do so does nothing.</summary>
    /// <param name="offsetBytes">Where it starts on the disk, in bytes; any alignment.</param>
    /// <param name="lengthBytes">Its length in bytes.</param>
    /// <param name="cancellationToken">Ends the work, between parts.</param>
    /// <returns>Completes when the hint was processed; afterwards each part reads as zeros or as before.</returns>
    /// <inheritdoc cref="WriteAsync(long, ReadOnlyMemory{byte}, CancellationToken)" path="/exception"/>
    public virtual ValueTask DiscardAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken = default) =>
        CanWrite ? ValueTask.CompletedTask : throw ReadOnly();

    /// <summary>Writes a whole cluster compressed, or plainly where that makes it no shorter.</summary>
    /// <param name="offsetBytes">Where the cluster starts on the disk, in bytes.</param>
    /// <param name="cluster">Its bytes: <see cref="ClusterBytes"/>, or up to the disk's end.</param>
    /// <param name="cancellationToken">Ends the work before anything is written.</param>
    /// <exception cref="ArgumentException">These are not the bytes of one cluster.</exception>
    /// <exception cref="Qcow2UnsupportedException">The disk cannot compress (<see cref="CanCompress"/>), or is open for reading
    /// only.</exception>
    /// <inheritdoc cref="WriteAsync(long, ReadOnlyMemory{byte}, CancellationToken)" path="/exception"/>
    public virtual ValueTask WriteCompressedAsync(
        long offsetBytes, ReadOnlyMemory<byte> cluster, CancellationToken cancellationToken = default) =>
        throw new Qcow2UnsupportedException(UnsupportedReason.Compression, $"'{Name}' is not compressed");

    /// <summary>Makes all writes of completed calls durable.</summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="IOException">The disk cannot be written; what was written since the last flush may be lost.</exception>
    public virtual ValueTask FlushAsync(CancellationToken cancellationToken = default) =>
        CanWrite ? throw new NotSupportedException("A disk that can be written has to say how it is flushed") : ValueTask.CompletedTask;

    /// <summary>Closes what the disk itself has opened.</summary>
    public virtual ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        return ValueTask.CompletedTask;
    }

    /// <summary>Opens everything that reading needs, so that an unreadable disk is refused before anything is written elsewhere.</summary>
    /// <returns>The disk, with the shortest way to its data.</returns>
    internal virtual ValueTask<Disk> PrepareAsync(CancellationToken cancellationToken) => ValueTask.FromResult(this);

    /// <summary>Writes bytes that were read from a file: the blocks may be shared with it, where the file system supports that.</summary>
    internal virtual ValueTask WriteAsync(
        long offsetBytes, ReadOnlyMemory<byte> bytes, BytesOrigin? origin, CancellationToken cancellationToken) =>
        WriteAsync(offsetBytes, bytes, cancellationToken);

    /// <summary>Which file the extents of a depth are in; null when that is not known.</summary>
    internal virtual StorageIdentity? FileOf(int depth) => null;

    /// <summary>Where a file has the bytes of an extent as the guest sees them; null where none has.</summary>
    internal virtual BytesOrigin? OriginOf(DiskExtent extent) => null;

    /// <summary>Whether an extent of this disk and one of another are the same bytes of the same file. Broken data, too, are the same
    /// then.</summary>
    internal bool IsSamePlace(DiskExtent own, Disk other, DiskExtent its) =>
        own.Kind == its.Kind
        && own.Kind is ExtentKind.Data or ExtentKind.Compressed
        && own.HostOffset == its.HostOffset
        && own.CompressedBytes == its.CompressedBytes
        && FileOf(own.Depth) is { } file
        && file == other.FileOf(its.Depth);

    /// <summary>The disk's size in bytes, from a disk of anybody's making.</summary>
    /// <exception cref="IOException">It is none that a disk can have.</exception>
    internal long CheckedSizeBytes => SizeBytes is >= 0 and <= Disk.MaxSizeBytes and long size
        ? size
        : throw IOException.Of($"'{Name}' says that it has {SizeBytes} bytes: a disk has 0 to {Disk.MaxSizeBytes}");

    /// <summary>Reads a range, with zeros past the disk's end.</summary>
    /// <exception cref="IOException">The disk cannot be read, or gives nothing before its end.</exception>
    internal async ValueTask ReadFilledAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        for (int filled = 0; filled < buffer.Length;)
        {
            int wanted = buffer.Length - filled;
            int read = await ReadAsync(offset + filled, buffer[filled..], cancellationToken).ConfigureAwait(false);
            bool isAtEnd = read < wanted && offset + filled + read >= SizeBytes;
            if (read < 0 || read > wanted || (read == 0 && !isAtEnd))
            {
                throw IOException.Of(
                    $"'{Name}': reading {wanted} bytes from offset {offset + filled} on gave {read} bytes; the disk has {SizeBytes}");
            }

            filled += read;
            if (isAtEnd)
            {
                buffer.Span[filled..].Clear();
                return;
            }
        }
    }

    /// <summary>As <see cref="ListAsync"/>, from a disk of anybody's making.</summary>
    /// <exception cref="IOException">What was listed is not what was asked for: it has gaps or overlaps, or lies elsewhere.</exception>
    internal async ValueTask<long> ListCheckedAsync(
        long offset, long end, List<DiskExtent> extents, CancellationToken cancellationToken)
    {
        int first = extents.Count;
        long listed = await ListAsync(offset, end, extents, cancellationToken).ConfigureAwait(false);
        // The last one of before may have become longer.
        long at = first > 0 && first <= extents.Count ? extents[first - 1].EndBytes : offset;
        bool isList = at >= offset && listed > offset && listed <= end;
        for (int i = first; i < extents.Count && isList; i++)
        {
            DiskExtent extent = extents[i];
            isList = extent.OffsetBytes == at && extent.LengthBytes > 0 && extent.LengthBytes <= end - at;
            at += isList ? extent.LengthBytes : 0;
        }

        return isList && at == listed
            ? listed
            : throw IOException.Of(
                $"'{Name}': its map of {offset} to {end} is broken: extents must follow one another from the start to where the list ends");
    }

    /// <summary>Lists the parts of a range that the tables do not mark as zeros.</summary>
    /// <param name="start">Where the range starts, in bytes.</param>
    /// <param name="end">Where it ends.</param>
    /// <param name="unitBytes">A power of two: parts are rounded out to whole units, within the range.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The parts, in ascending order without overlaps.</returns>
    internal async IAsyncEnumerable<StorageRange> ListDataAsync(
        long start, long end, int unitBytes, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var extents = new List<DiskExtent>();
        long mapEnd = Math.Min(end, SizeBytes);
        for (long listed = start, done = start; listed < mapEnd;)
        {
            extents.Clear();
            listed = await ListCheckedAsync(listed, mapEnd, extents, cancellationToken).ConfigureAwait(false);
            // Writes create and fill holes inside an image's clusters, by whole pages. They do not count here, so that what is copied
            // depends on the images alone.
            foreach (DiskExtent extent in extents.Where(static extent => extent.Kind is ExtentKind.Data or ExtentKind.Compressed))
            {
                long from = Math.Max(done, extent.OffsetBytes & -unitBytes);
                done = extent.EndBytes + Math.Min(end - extent.EndBytes, -extent.EndBytes & (unitBytes - 1));
                if (from < done)
                {
                    yield return new StorageRange(from, done);
                }
            }
        }
    }

    /// <summary>The end of the range, from an offset on, that the tables mark as zeros.</summary>
    internal async ValueTask<long> FindZerosEndAsync(long start, long end, CancellationToken cancellationToken)
    {
        await foreach (StorageRange data in ListDataAsync(start, end, 1, cancellationToken).ConfigureAwait(false))
        {
            return data.Offset;
        }

        return Math.Min(end, SizeBytes);
    }

    /// <summary>Throws if a range is outside the disk.</summary>
    private protected void RequireRange(long offsetBytes, long lengthBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offsetBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(lengthBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offsetBytes, SizeBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(lengthBytes, SizeBytes - offsetBytes);
    }

    /// <summary>The writes that fill a range with zeros.</summary>
    private protected static IEnumerable<(long OffsetBytes, ReadOnlyMemory<byte> Zeros)> ZerosOf(long start, long length)
    {
        for (long done = 0; done < length; done += ZeroBufferBytes)
        {
            yield return (start + done, s_zeros.AsMemory(0, (int)Math.Min(ZeroBufferBytes, length - done)));
        }
    }

    private protected Qcow2UnsupportedException ReadOnly() => new(UnsupportedReason.ReadOnly, $"'{Name}' is open for reading only");
}
