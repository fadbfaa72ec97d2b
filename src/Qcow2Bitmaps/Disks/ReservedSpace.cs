using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Disks;

/// <summary>Allocates space of a file before data are written to it.</summary>
internal static class ReservedSpace
{
    private const int ZeroBytes = 1 << 20;
    private const int FirstBlockBytes = 4096;

    /// <summary>Whether the mode allocates space, not only offsets.</summary>
    public static bool TakesSpace(this Preallocation mode) => mode is Preallocation.Falloc or Preallocation.Full;

    /// <summary>Refuses a block device, as QEMU does: its space always exists.</summary>
    /// <exception cref="Qcow2UnsupportedException">The storage cannot grow, and the mode allocates space.</exception>
    public static void RequireFile(ImageStorage storage, Preallocation mode)
    {
        if (mode.TakesSpace() && storage.CapacityBytes is not null)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Preallocation, $"Preallocation mode '{NameOf(mode)}' unsupported for this non-regular file");
        }
    }

    /// <summary>Refuses a storage that cannot grow and is too small.</summary>
    /// <exception cref="NoSpaceException">It is.</exception>
    public static void RequireRoom(ImageStorage storage, long neededBytes)
    {
        if (storage.CapacityBytes is { } capacity && capacity < neededBytes)
        {
            throw NoSpaceException.OfVolume(storage.Name, neededBytes, capacity);
        }
    }

    /// <summary>QEMU's name of a mode.</summary>
    public static string NameOf(Preallocation mode) => mode switch
    {
        Preallocation.Metadata => "metadata",
        Preallocation.Falloc => "falloc",
        Preallocation.Full => "full",
        _ => "off",
    };

    /// <summary>Allocates the space of a range that reads as zeros; it still reads as zeros afterwards.</summary>
    /// <exception cref="IOException">There is no space, or the storage failed.</exception>
    public static async ValueTask TakeAsync(
        ImageStorage storage, long offset, long length, Preallocation mode, CancellationToken cancellationToken)
    {
        if (!mode.TakesSpace()
            || length <= 0
            || (mode == Preallocation.Falloc && await storage.TryAllocateAsync(offset, length, cancellationToken).ConfigureAwait(false)))
        {
            return;
        }

        await WriteZerosAsync(storage, offset, length, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// Allocates the space of a range without changing any byte: if space cannot be reserved, zeros are written only into holes.
    /// </summary>
    /// <exception cref="IOException">There is no space, or the storage failed.</exception>
    public static async ValueTask TakeKeepingAsync(
        ImageStorage storage, long offset, long length, Preallocation mode, CancellationToken cancellationToken)
    {
        if (!mode.TakesSpace() || length <= 0 || await storage.TryAllocateAsync(offset, length, cancellationToken).ConfigureAwait(false))
        {
            return;
        }

        long end = offset + length;
        for (long at = offset; at < end;)
        {
            StorageRange data = await storage.FindDataAsync(at, cancellationToken).ConfigureAwait(false) ?? new StorageRange(end, end);
            await WriteZerosAsync(storage, at, Math.Min(end, data.Offset) - at, cancellationToken).ConfigureAwait(false);
            at = data.EndOffset;
        }
    }

    /// <summary>Allocates the first block of a file that was empty, as QEMU does: it probes there how writes must be aligned.</summary>
    /// <exception cref="IOException">There is no space, or the storage failed.</exception>
    public static ValueTask TakeFirstBlockAsync(ImageStorage storage, CancellationToken cancellationToken) =>
        WriteZerosAsync(storage, 0, Math.Min(storage.Length, FirstBlockBytes), cancellationToken);

    /// <summary>Writes zeros, as data.</summary>
    /// <exception cref="IOException">There is no space, or the storage failed.</exception>
    public static async ValueTask WriteZerosAsync(ImageStorage storage, long offset, long length, CancellationToken cancellationToken)
    {
        var zeros = new byte[(int)Math.Clamp(length, 0, ZeroBytes)];
        for (long done = 0; done < length; done += zeros.Length)
        {
            await storage.WriteAsync(
                offset + done, zeros.AsMemory(0, (int)Math.Min(zeros.Length, length - done)), cancellationToken).ConfigureAwait(false);
        }
    }
}
