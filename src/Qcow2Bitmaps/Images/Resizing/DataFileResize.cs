using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Resizing;

/// <summary>Resizes an external data file with the disk, so that no interruption loses data that a header refers to.</summary>
/// <remarks>
/// <para>
/// When the disk grows, the file grows before the header switches, and is never truncated. What a raw file has past the disk's old end
/// becomes part of the disk. Any other file is read through the image only: the parts of it that entries refer to are zeroed.
/// </para>
/// <para>
/// When the disk shrinks, the file is truncated after the switch, unless it was longer than the disk: data past the disk's end do not
/// belong to the disk and must not be deleted.
/// </para>
/// </remarks>
internal sealed class DataFileResize(
    ImageStorage file, bool isRaw, bool isNamed, Preallocation preallocation, long oldSize, long newSize, int clusterBytes)
{
    private bool _isCut;
    private long? _lengthBefore;

    /// <summary>Throws if the file is too small and cannot grow.</summary>
    /// <exception cref="NoSpaceException">It is too small.</exception>
    public void RequireRoom()
    {
        if (newSize > oldSize && file.CapacityBytes is { } capacity && capacity < newSize)
        {
            throw NoSpaceException.OfVolume(file.Name, newSize, capacity);
        }
    }

    /// <summary>Prepares the space past the disk's end. The disk's data are not changed.</summary>
    /// <exception cref="IOException">The storage failed, or there is no space; <see cref="TakeBackAsync"/> is to follow.</exception>
    public async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        long length = file.Length;
        if (newSize <= oldSize)
        {
            _isCut = file.CapacityBytes is null && length > newSize
                && (length <= oldSize || await IsPaddingAsync(length, cancellationToken).ConfigureAwait(false));
            return;
        }

        _lengthBefore = length;
        await GrowAsync(length, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Restores the file's old length, because the disk keeps its size.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask TakeBackAsync()
    {
        if (_lengthBefore is { } length && file.CapacityBytes is null && file.Length > length)
        {
            await file.SetLengthAsync(length, CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>Truncates the file to the disk's new size.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask FinishAsync()
    {
        if (_isCut)
        {
            await file.SetLengthAsync(newSize, CancellationToken.None).ConfigureAwait(false);
            await file.FlushAsync(CancellationToken.None).ConfigureAwait(false);
        }
    }

    private async ValueTask GrowAsync(long length, CancellationToken cancellationToken)
    {
        long clusterStart = oldSize & -clusterBytes;
        if (!isRaw)
        {
            // With preallocation, entries refer to all of the file; otherwise only the cluster in which the disk ends is affected.
            long named = Math.Min(newSize, isNamed ? newSize : clusterStart + clusterBytes);
            await ZeroAsync(oldSize, Math.Min(named, length), cancellationToken).ConfigureAwait(false);
        }

        if (file.CapacityBytes is null && length < newSize)
        {
            await file.SetLengthAsync(newSize, cancellationToken).ConfigureAwait(false);
        }

        long kept = Math.Clamp(length, oldSize, newSize);
        await ReservedSpace
            .TakeKeepingAsync(file, clusterStart, kept - clusterStart, preallocation, cancellationToken).ConfigureAwait(false);
        await ReservedSpace.TakeAsync(file, kept, newSize - kept, preallocation, cancellationToken).ConfigureAwait(false);
        await file.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Whether the file is longer than the disk only because QEMU has rounded it up to a cluster.</summary>
    private async ValueTask<bool> IsPaddingAsync(long length, CancellationToken cancellationToken) => length - oldSize < clusterBytes
        && await NonZeroSearch.FindAsync(file, oldSize, length, cancellationToken).ConfigureAwait(false) is null;

    private async ValueTask ZeroAsync(long start, long end, CancellationToken cancellationToken)
    {
        if (start < end && !await file.TryZeroAsync(start, end - start, cancellationToken).ConfigureAwait(false))
        {
            await ReservedSpace.WriteZerosAsync(file, start, end - start, cancellationToken).ConfigureAwait(false);
        }
    }
}
