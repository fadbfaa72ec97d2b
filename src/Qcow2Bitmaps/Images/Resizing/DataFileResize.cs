using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Creation;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Resizing;

/// <summary>Gives an external data file the disk's new size: before the header switches where the disk grows, afterwards where it shrinks, so that no stop loses what a header names.</summary>
internal sealed class DataFileResize(ImageStorage file, bool isNamed, Preallocation preallocation, long oldSize, long newSize, int clusterBytes)
{
    /// <summary>Makes room behind the disk's end, which reads as zeros. Nothing that the disk has is touched.</summary>
    /// <exception cref="NoSpaceException">The file cannot grow and is too small.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        if (newSize <= oldSize)
        {
            return;
        }

        if (file.CapacityBytes is { } capacity)
        {
            if (capacity < newSize)
            {
                throw new NoSpaceException($"'{PrintableText.Escape(file.Name)}': no space: {newSize} bytes needed, {capacity} there", newSize, capacity);
            }

            // Entries of a raw or preallocated file name all of it; others only the cluster that the disk ends in.
            await ZeroAsync(oldSize, isNamed ? newSize : Math.Min(newSize, (oldSize + clusterBytes - 1) & -clusterBytes), cancellationToken).ConfigureAwait(false);
        }
        else
        {
            if (file.Length > oldSize)
            {
                // What was left behind the end.
                await file.SetLengthAsync(oldSize, cancellationToken).ConfigureAwait(false);
            }

            await file.SetLengthAsync(newSize, cancellationToken).ConfigureAwait(false);
            await ReservedSpace.TakeAsync(file, oldSize, newSize - oldSize, preallocation, cancellationToken).ConfigureAwait(false);
        }

        await file.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Cuts off what the disk no longer has.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask FinishAsync()
    {
        if (newSize < oldSize && file.CapacityBytes is null && file.Length > newSize)
        {
            await file.SetLengthAsync(newSize, CancellationToken.None).ConfigureAwait(false);
            await file.FlushAsync(CancellationToken.None).ConfigureAwait(false);
        }
    }

    private async ValueTask ZeroAsync(long start, long end, CancellationToken cancellationToken)
    {
        if (start >= end || await file.TryZeroAsync(start, end - start, cancellationToken).ConfigureAwait(false))
        {
            return;
        }

        await ReservedSpace.WriteZerosAsync(file, start, end - start, cancellationToken).ConfigureAwait(false);
    }
}
