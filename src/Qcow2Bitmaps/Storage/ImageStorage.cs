namespace Qcow2Bitmaps.Storage;

/// <summary>Random-access bytes in which an image is stored.</summary>
/// <remarks>
/// Every call takes an offset; there is no cursor. Calls may run concurrently from any threads; overlapping writes complete in any order. A
/// file completes its calls before they return.
/// </remarks>
public abstract class ImageStorage : IAsyncDisposable
{
    /// <summary>Opens a regular file or a block device.</summary>
    /// <param name="path">The path, which is also the storage's name.</param>
    /// <param name="access">Whether it can be written too: it can always be read.</param>
    /// <param name="imageLock">The locks to take: those of QEMU.</param>
    /// <param name="ignoreDiscards">Whether the file keeps the space of clusters that an image no longer uses, as with QEMU's
    /// <c>discard=ignore</c>, which is faster; it is given back to the file system otherwise.</param>
    /// <returns>The storage, to be disposed.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The access is writing alone.</exception>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="ImageLockedException">A lock of somebody else is in the way.</exception>
    /// <exception cref="IOException">It cannot be opened, or is neither a regular file nor a block device.</exception>
    /// <exception cref="UnauthorizedAccessException">The permissions forbid it.</exception>
    public static ImageStorage OpenFile(
        string path, FileAccess access = FileAccess.Read, ImageLock imageLock = ImageLock.Read,
        bool ignoreDiscards = false)
    {
        var file = FileStorage.Open(path, access, imageLock);
        file.IgnoresDiscards = ignoreDiscards;
        return file;
    }

    /// <summary>Makes a storage in memory, which can be written and grows.</summary>
    /// <param name="content">What it holds at first; it is copied.</param>
    /// <param name="name">What it is called in messages.</param>
    public static ImageStorage InMemory(ReadOnlySpan<byte> content = default, string name = "memory") => new MemoryStorage(content, name);

    /// <summary>What the storage is called in messages: a path, or a description.</summary>
    public abstract string Name { get; }

    /// <summary>
    /// Which file, device or other place of bytes this is, whatever name led to it: <see cref="object.Equals(object)"/> tells the same one.
    /// Null when that is not known. A storage around another one passes on what that one says.
    /// </summary>
    public virtual object? Identity => null;

    /// <summary><see cref="Identity"/>, to compare.</summary>
    internal StorageIdentity? Key => Identity is { } value ? new StorageIdentity(value) : null;

    /// <summary>How many bytes of disk the storage occupies: less than its length when it is sparse; null when that is not known.</summary>
    public virtual long? AllocatedBytes => null;

    /// <summary>When the storage was last written, by anybody, as a number to compare for equality only; null if unknown.</summary>
    internal virtual Int128? LastWrite => null;

    /// <summary>The permissions that it passes on to a file made from it; null when it is not a file.</summary>
    internal virtual FileSource? AsSource() => null;

    /// <summary>Where guest data are written and read back: the storage itself, unless written data need not be kept.</summary>
    internal virtual ImageStorage GuestData => this;

    /// <summary>The length in bytes; a block device's capacity.</summary>
    /// <exception cref="IOException">The length cannot be determined.</exception>
    public abstract long Length { get; }

    /// <summary>Whether <see cref="WriteAsync"/>, <see cref="FlushAsync"/> and <see cref="SetLengthAsync"/> are possible.</summary>
    public abstract bool CanWrite { get; }

    /// <summary>The fixed size of the storage in bytes: a block device's capacity; null when the storage grows as it is written.</summary>
    /// <exception cref="IOException">The capacity cannot be determined.</exception>
    public virtual long? CapacityBytes => null;

    /// <summary>Whether another process has the storage open for writing, judged by its locks.</summary>
    /// <returns>False also where locks are not available.</returns>
    public virtual bool IsOpenForWritingElsewhere() => false;

    /// <summary>Reads until the buffer is full or the storage ends.</summary>
    /// <param name="offset">The first byte's offset, not negative; may lie past the end.</param>
    /// <param name="buffer">Where the bytes go.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>The number of bytes read: less than the buffer's length only where the storage ends.</returns>
    /// <exception cref="IOException">The device failed.</exception>
    public abstract ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default);

    /// <summary>Writes all of a buffer; a file grows if the range ends past its end.</summary>
    /// <param name="offset">The first byte's offset, not negative.</param>
    /// <param name="buffer">The bytes.</param>
    /// <param name="cancellationToken">Ends the wait; what was written by then is not known.</param>
    /// <exception cref="IOException">The device failed or is full.</exception>
    /// <exception cref="NotSupportedException">The storage is read-only.</exception>
    public abstract ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default);

    /// <summary>Waits until all that was written before this call survives a loss of power.</summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="IOException">The device failed; what was written since the last flush may be lost.</exception>
    /// <exception cref="NotSupportedException">The storage is read-only.</exception>
    public abstract ValueTask FlushAsync(CancellationToken cancellationToken = default);

    /// <summary>Starts writing cached data to disk, so that a later flush takes less time. A hint: may do nothing.</summary>
    internal virtual ValueTask BeginWriteBackAsync(long offset, long length, CancellationToken cancellationToken) =>
        ValueTask.CompletedTask;

    /// <summary>Cuts the storage, or extends it with zeros.</summary>
    /// <param name="length">The new length in bytes.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="IOException">The device failed, or has a fixed length.</exception>
    /// <exception cref="NotSupportedException">The storage is read-only.</exception>
    public abstract ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default);

    /// <summary>Says that a range is no longer needed, so that its space may be freed. A hint: may do nothing.</summary>
    /// <param name="offset">The first byte's offset, not negative.</param>
    /// <param name="length">The range's length in bytes.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>Completes when the hint was processed; afterwards each part of the range reads as zeros or as before.</returns>
    /// <exception cref="IOException">The device failed.</exception>
    /// <exception cref="NotSupportedException">The storage is read-only.</exception>
    public virtual ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        ValueTask.CompletedTask;

    /// <summary>Makes a range read as zeros without writing them, if there is a way to.</summary>
    /// <returns>Whether the range reads as zeros now; if not, nothing was done.</returns>
    internal virtual ValueTask<bool> TryZeroAsync(long offset, long length, CancellationToken cancellationToken) =>
        ValueTask.FromResult(false);

    /// <summary>Shares another storage's blocks copy-on-write, if possible. A file grows if the range ends past its end.</summary>
    /// <returns>Whether the range reads so now; if not, nothing was done.</returns>
    internal virtual ValueTask<bool> TryCloneAsync(BytesOrigin origin, long offset, long length, CancellationToken cancellationToken) =>
        ValueTask.FromResult(false);

    /// <summary>Writes bytes, or shares the blocks of the storage that they were read from, if possible.</summary>
    internal async ValueTask WriteOrCloneAsync(
        long offset, ReadOnlyMemory<byte> buffer, BytesOrigin? origin, CancellationToken cancellationToken)
    {
        if (origin is not { } from || !await TryCloneAsync(from, offset, buffer.Length, cancellationToken).ConfigureAwait(false))
        {
            await WriteAsync(offset, buffer, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Allocates space for a range, if possible, and keeps its content. A file grows if the range ends past its end.</summary>
    /// <returns>Whether the space is there now; if not, nothing was done.</returns>
    /// <exception cref="IOException">There is no space.</exception>
    internal virtual ValueTask<bool> TryAllocateAsync(long offset, long length, CancellationToken cancellationToken) =>
        ValueTask.FromResult(false);

    /// <summary>Finds the next range that may hold non-zero data. Storage that does not know of holes returns everything.</summary>
    /// <param name="offset">Where to start, in bytes, not negative; may lie past the end.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>The range, which starts at or after the offset; null when only zeros are left. It may also hold zeros.</returns>
    /// <exception cref="IOException">The device failed.</exception>
    public virtual ValueTask<StorageRange?> FindDataAsync(long offset, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        long length = Length;
        return ValueTask.FromResult<StorageRange?>(offset < length ? new StorageRange(offset, length) : null);
    }

    /// <summary>Reads like QEMU: everything past the end reads as zeros.</summary>
    /// <param name="offset">The first byte's offset, not negative; may lie past the end.</param>
    /// <param name="buffer">Where the bytes go; filled whole.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>The number of bytes that came from the storage.</returns>
    /// <exception cref="IOException">The device failed.</exception>
    internal async ValueTask<int> ReadZeroFilledAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int read = await ReadAsync(offset, buffer, cancellationToken).ConfigureAwait(false);
        buffer.Span[read..].Clear();
        return read;
    }

    /// <summary>Closes the storage and releases its locks.</summary>
    public abstract ValueTask DisposeAsync();
}
