using Qcow2Bitmaps.Images.Creation;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Resizing;

/// <summary>Gives an external data file the disk's new size, so that no stop loses what a header names.</summary>
/// <remarks>
/// <para>
/// Where the disk grows, the file grows before the header switches, and is never cut. What a raw file has behind the disk's old end becomes
/// the disk's. Another file is read through the image only: what entries name of it becomes zeros.
/// </para>
/// <para>
/// Where the disk shrinks, the file is cut after the switch, unless it was longer than the disk: what it had behind the disk's end is not
/// the disk's to delete.
/// </para>
/// </remarks>
internal sealed class DataFileResize(
    ImageStorage file, bool isRaw, bool isNamed, Preallocation preallocation, long oldSize, long newSize, int clusterBytes)
{
    private bool _isCut;
    private long? _lengthBefore;

    /// <summary>Refuses a file that cannot grow and is too small.</summary>
    /// <exception cref="NoSpaceException">It is too small.</exception>
    public void RequireRoom()
    {
        if (newSize > oldSize && file.CapacityBytes is { } capacity && capacity < newSize)
        {
            throw NoSpaceException.OfVolume(file.Name, newSize, capacity);
        }
    }

    /// <summary>Makes room behind the disk's end. Nothing that the disk has is touched.</summary>
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

    /// <summary>Gives the file its old length again, as the disk keeps its size.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask TakeBackAsync()
    {
        if (_lengthBefore is { } length && file.CapacityBytes is null && file.Length > length)
        {
            await file.SetLengthAsync(length, CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>Cuts off what the disk no longer has.</summary>
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
            // Entries name all of a file that is preallocated; else only the cluster that the disk ends in.
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
