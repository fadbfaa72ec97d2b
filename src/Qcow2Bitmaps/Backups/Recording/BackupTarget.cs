using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>What a backup job copies a disk to.</summary>
/// <remarks>Calls may run side by side, for parts that do not overlap; each part is whole clusters of <see cref="ClusterBytes"/>, or ends at the disk's end.</remarks>
public abstract class BackupTarget : IAsyncDisposable
{
    /// <summary>What the target is called.</summary>
    public abstract string Name { get; }

    /// <summary>The size of its disk in bytes.</summary>
    public abstract long SizeBytes { get; }

    /// <summary>How many bytes are best written together, a power of two. Jobs copy by units of at least 64 KiB.</summary>
    public abstract int ClusterBytes { get; }

    /// <summary>Whether two targets, or a session and a target, write the same image.</summary>
    internal virtual object Identity => this;

    /// <summary>Takes an image, or a raw file or device, that there is. Locks are those of a writer.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="format"><c>qcow2</c> or <c>raw</c>; probed when null.</param>
    /// <param name="options">How its backing files are found, and what locks are taken; the defaults when null.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The target, to be disposed.</returns>
    /// <exception cref="Qcow2Exception">The image is broken, or cannot be written.</exception>
    /// <exception cref="IOException">It cannot be opened.</exception>
    public static async Task<BackupTarget> OpenAsync(string path, string? format = null, ChainOpenOptions? options = null, CancellationToken cancellationToken = default)
    {
        options = (options ?? ChainOpenOptions.Default) with { TopFormat = format, WritableLayers = [0] };
        ImageChain chain = await ImageChain.OpenAsync(path, options, cancellationToken).ConfigureAwait(false);
        try
        {
            return chain.Layers[0].Image is null
                ? new RawBackupTarget(chain.Layers[0].Storage, chain)
                : new WriterBackupTarget(await chain.OpenWriterAsync(cancellationToken).ConfigureAwait(false), chain);
        }
        catch
        {
            await chain.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Takes what a writer writes; its bitmaps record what is copied. The writer stays the caller's.</summary>
    /// <param name="writer">The writer.</param>
    public static BackupTarget Of(GuestWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        return new WriterBackupTarget(writer, null);
    }

    /// <summary>Takes another session's disk; its bitmaps record what is copied. The session stays the caller's, and cannot be copied back to the job's, directly or over others, while the job runs.</summary>
    /// <param name="session">The session.</param>
    public static BackupTarget Of(RecordingSession session)
    {
        ArgumentNullException.ThrowIfNull(session);
        return new SessionBackupTarget(session);
    }

    /// <summary>Takes the bytes of a storage as a raw disk. The storage stays the caller's.</summary>
    /// <param name="storage">The storage, which can be written and has the disk's length.</param>
    public static BackupTarget OfRaw(ImageStorage storage)
    {
        ArgumentNullException.ThrowIfNull(storage);
        return storage.CanWrite
            ? new RawBackupTarget(storage, null)
            : throw new Qcow2UnsupportedException(UnsupportedReason.ReadOnly, $"'{storage.Name}' is open for reading only");
    }

    /// <summary>Up to where it is known, without reading data, to read as zeros from an offset on; the offset where it may not. What others write there later comes after the zeros that need not be copied.</summary>
    internal virtual ValueTask<long> FindZerosEndAsync(long offsetBytes, CancellationToken cancellationToken) => ValueTask.FromResult(offsetBytes);

    /// <summary>Writes bytes.</summary>
    /// <param name="offsetBytes">Where on the disk, in bytes.</param>
    /// <param name="bytes">The bytes.</param>
    /// <param name="cancellationToken">Ends the writing.</param>
    /// <exception cref="IOException">That failed.</exception>
    public abstract ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken);

    /// <summary>Whether clusters can be compressed.</summary>
    public virtual bool CanCompress => false;

    /// <summary>Writes bytes, compressed cluster by cluster where that makes them shorter.</summary>
    /// <param name="offsetBytes">Where on the disk, in bytes: the start of a cluster.</param>
    /// <param name="bytes">Whole clusters, or up to the disk's end.</param>
    /// <param name="cancellationToken">Ends the writing.</param>
    /// <exception cref="NotSupportedException">The target is not compressed: see <see cref="CanCompress"/>.</exception>
    /// <exception cref="IOException">That failed.</exception>
    public virtual ValueTask WriteCompressedAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) =>
        throw new NotSupportedException(PrintableMessage.Of($"'{Name}' is not compressed"));

    /// <summary>Makes a range read as zeros, whatever was there or shows through from below.</summary>
    /// <param name="offsetBytes">Where it starts on the disk, in bytes.</param>
    /// <param name="lengthBytes">Its length in bytes.</param>
    /// <param name="cancellationToken">Ends the writing.</param>
    /// <exception cref="IOException">That failed.</exception>
    public abstract ValueTask WriteZerosAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken);

    /// <summary>Makes durable what was written.</summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="IOException">That failed.</exception>
    public abstract ValueTask FlushAsync(CancellationToken cancellationToken);

    /// <summary>Closes what the target itself has opened.</summary>
    public virtual ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        return ValueTask.CompletedTask;
    }
}
