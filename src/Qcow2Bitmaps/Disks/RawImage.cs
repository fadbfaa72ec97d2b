using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Disks;

/// <summary>Creates and resizes raw images, which are files as long as the disk.</summary>
internal static class RawImage
{
    private const int SectorBytes = 512;

    /// <summary>As <see cref="Disk.CreateRawAsync"/>, with the permissions that the file gets from its sources.</summary>
    public static async Task CreateAsync(
        string path, long sizeBytes, Preallocation preallocation, FileRights rights, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(sizeBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(sizeBytes, Disk.MaxSizeBytes);
        RequireKnown(preallocation);
        long fileBytes = ImageGeometry.DivideRoundingUp(sizeBytes, SectorBytes) * SectorBytes;
        NewFile file = NewFile.Create(path, rights);
        await using (file.ConfigureAwait(false))
        {
            await file.FillAsync(fileBytes, preallocation, cancellationToken).ConfigureAwait(false);
            await file.Storage.FlushAsync(cancellationToken).ConfigureAwait(false);
            file.Keep();
        }
    }

    /// <summary>Cuts a raw image, or extends it with zeros. A block device has the size that it has.</summary>
    /// <param name="storage">The image, open for writing; it stays open.</param>
    /// <param name="sizeBytes">The new size in bytes.</param>
    /// <param name="preallocation">How much of the added space is allocated.</param>
    /// <param name="cancellationToken">Ends the work; the image then has its old size.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is negative.</exception>
    /// <exception cref="ArgumentException">A raw image has no such preallocation, or the image would not grow.</exception>
    /// <exception cref="Qcow2UnsupportedException">Preallocation of space was requested on a block device.</exception>
    /// <exception cref="IOException">The storage failed, has no space, or is a block device of another
    /// size; the image has its old size.</exception>
    public static async Task ResizeAsync(
        ImageStorage storage, long sizeBytes, Preallocation preallocation = Preallocation.Off,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(storage);
        ArgumentOutOfRangeException.ThrowIfNegative(sizeBytes);
        long before = storage.Length;
        if (preallocation != Preallocation.Off && sizeBytes <= before)
        {
            throw new ArgumentException("Preallocation can only be used for growing images", nameof(preallocation));
        }

        ReservedSpace.RequireFile(storage, preallocation);
        if (storage.CapacityBytes is { } capacity)
        {
            if (capacity != sizeBytes)
            {
                throw IOException.Of("Cannot resize device files");
            }

            return;
        }

        RequireKnown(preallocation);
        try
        {
            await storage.SetLengthAsync(sizeBytes, cancellationToken).ConfigureAwait(false);
            if (before == 0)
            {
                await ReservedSpace.TakeFirstBlockAsync(storage, cancellationToken).ConfigureAwait(false);
            }

            await ReservedSpace.TakeAsync(storage, before, sizeBytes - before, preallocation, cancellationToken).ConfigureAwait(false);
        }
        catch when (sizeBytes > before)
        {
            await storage.SetLengthAsync(before, CancellationToken.None).ConfigureAwait(false);
            throw;
        }

        await storage.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    public static void RequireKnown(Preallocation preallocation)
    {
        if (preallocation is not (Preallocation.Off or Preallocation.Falloc or Preallocation.Full))
        {
            throw new ArgumentException($"Unsupported preallocation mode: {ReservedSpace.NameOf(preallocation)}", nameof(preallocation));
        }
    }
}
