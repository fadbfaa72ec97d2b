using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Creation;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>Creates and resizes raw images, which are files as long as the disk.</summary>
public static class RawImage
{
    /// <summary>Makes a file of zeros; an existing file is overwritten. A block device keeps its bytes and must be large enough.</summary>
    /// <param name="path">The path.</param>
    /// <param name="sizeBytes">The disk's size in bytes, rounded up to whole sectors of 512.</param>
    /// <param name="preallocation">The space that the file gets: none, so that it is sparse, or all; there are no
    /// <see cref="Preallocation.Metadata"/>.</param>
    /// <param name="cancellationToken">Ends the making; a file that was made is removed again.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is negative, or above <see cref="Disk.MaxSizeBytes"/>.</exception>
    /// <exception cref="ArgumentException">A raw image has no such preallocation.</exception>
    /// <exception cref="Qcow2UnsupportedException">Space is to be taken on a block device.</exception>
    /// <exception cref="ImageLockedException">Somebody else has the file open.</exception>
    /// <exception cref="NoSpaceException">The block device is too small.</exception>
    /// <exception cref="IOException">The file cannot be made, or there is no space for it.</exception>
    /// <exception cref="UnauthorizedAccessException">The permissions forbid it.</exception>
    public static Task CreateAsync(
        string path, long sizeBytes, Preallocation preallocation = Preallocation.Off, CancellationToken cancellationToken = default) =>
        CreateAsync(path, sizeBytes, preallocation, FileRights.Plain, cancellationToken);

    /// <summary>Like the public method, with the permissions that the file gets from its sources.</summary>
    internal static async Task CreateAsync(
        string path, long sizeBytes, Preallocation preallocation, FileRights rights, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(sizeBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(sizeBytes, Disk.MaxSizeBytes);
        RequireKnown(preallocation);
        NewFile file = NewFile.Create(path, rights);
        await using (file.ConfigureAwait(false))
        {
            await file.FillAsync(CreationPlan.RoundUp(sizeBytes), preallocation, cancellationToken).ConfigureAwait(false);
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
    internal static async Task ResizeAsync(
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

    internal static void RequireKnown(Preallocation preallocation)
    {
        if (preallocation is not (Preallocation.Off or Preallocation.Falloc or Preallocation.Full))
        {
            throw new ArgumentException($"Unsupported preallocation mode: {ReservedSpace.NameOf(preallocation)}", nameof(preallocation));
        }
    }
}
