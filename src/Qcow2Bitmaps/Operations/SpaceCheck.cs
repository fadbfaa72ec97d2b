using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>Refuses an operation, before anything is written, if its images have too little space.</summary>
internal static class SpaceCheck
{
    /// <summary>Tables are read faster, and what they tell may do.</summary>
    public static IReadOnlyList<MeasureDepth> Depths { get; } = [MeasureDepth.Tables, MeasureDepth.Data];

    /// <summary>Checks the images of a chain. Nothing is read if there is enough space for whatever the operation does.</summary>
    /// <param name="operation">The operation, on whose chain nothing has been written since it was opened.</param>
    /// <param name="target">The image that receives the data.</param>
    /// <param name="sizeBytes">The size of its disk afterwards.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <param name="freeBytes">The room for the target to grow, where that is known.</param>
    /// <exception cref="NoSpaceException">There is certainly too little space.</exception>
    public static async ValueTask RequireAsync(
        ChainOperation operation, int target, long sizeBytes, CancellationToken cancellationToken, long? freeBytes = null)
    {
        ImageChain chain = operation.Chain;
        ChainLayer layer = chain.Layers[target];
        if (layer.Storage is RehearsalStorage)
        {
            return;
        }

        if (chain.Layers.Any(static layer => layer.IsFixedSize && layer.Storage.CanWrite))
        {
            await RequireDevicesAsync(operation, cancellationToken).ConfigureAwait(false);
        }

        if (layer.IsFixedSize
            || layer is not Qcow2Layer { Image: var image }
            || (freeBytes ?? (layer.Storage is FileStorage ? FileSystemRoom.AvailableBytes(FolderOf(layer.Path)) : null)) is not { } free
            || free >= MostBytes(chain, image, sizeBytes))
        {
            return;
        }

        long needed = 0;
        foreach (MeasureDepth depth in Depths)
        {
            Rehearsal rehearsal = await Rehearsal.RunAsync(operation, depth, isBounded: false, cancellationToken).ConfigureAwait(false);
            needed = rehearsal.RoomOf(target).AdditionalBytes;
            await rehearsal.DisposeAsync().ConfigureAwait(false);
            if (needed <= free)
            {
                return;
            }
        }

        throw new NoSpaceException(
            $"'{layer.Path}': no space: it grows by {needed} bytes, {free} are free; nothing was written", needed, free);
    }

    /// <summary>
    /// As <see cref="RequireAsync"/>, for an operation that changes only bitmaps, in several images. Each image is checked separately: if
    /// several on one file system together need too much, that is detected only when it happens.
    /// </summary>
    public static async ValueTask RequireAllAsync(ChainOperation operation, IEnumerable<int> images, CancellationToken cancellationToken)
    {
        foreach (int index in images)
        {
            await RequireAsync(operation, index, operation.Chain.Layers[index].VirtualSizeBytes, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>The real folder of a file, for <see cref="FileSystemRoom"/>.</summary>
    public static string FolderOf(string path) =>
        FileNames.FolderOf(FileStorage.IdentityOf(path) is null ? path : FilePlace.Of(path).RealPath);

    private static async ValueTask RequireDevicesAsync(ChainOperation operation, CancellationToken cancellationToken)
    {
        foreach (MeasureDepth depth in Depths)
        {
            try
            {
                Rehearsal bounded = await Rehearsal.RunAsync(operation, depth, isBounded: true, cancellationToken).ConfigureAwait(false);
                await bounded.DisposeAsync().ConfigureAwait(false);
                return;
            }
            catch (NoSpaceException) when (depth == MeasureDepth.Tables)
            {
                // Zeros that are not stored may save enough space.
            }
            catch (NoSpaceException)
            {
                Rehearsal free = await Rehearsal.RunAsync(
                    operation, MeasureDepth.Data, isBounded: false, cancellationToken).ConfigureAwait(false);
                await using (free.ConfigureAwait(false))
                {
                    foreach (ChainLayer layer in operation.Chain.Layers)
                    {
                        long required = free.RoomOf(layer.Index).RequiredBytes;
                        if (layer.Storage.CapacityBytes is { } capacity && required > capacity)
                        {
                            throw NoSpaceException.OfVolume(layer.Path, required, capacity);
                        }
                    }
                }

                throw;
            }
        }
    }

    /// <summary>An upper bound for any operation: the whole disk, and all bitmaps of the chain twice, as edits write them anew.</summary>
    private static long MostBytes(ImageChain chain, Qcow2Image image, long sizeBytes)
    {
        var whole = new Qcow2CreateOptions
        {
            SizeBytes = sizeBytes,
            ClusterSizeBytes = image.ClusterSizeBytes,
            ExtendedL2 = image.Header.HasExtendedL2,
            RefcountBits = image.Geometry.RefcountBits,
        };
        long bitmaps = chain.Layers.OfType<Qcow2Layer>().Sum(
            layer => ImageMeasurement.BitmapsOf(layer.Image, sizeBytes, image.ClusterSizeBytes));
        return whole.FindFault() is null
            ? ImageMeasurement.OfEmpty(whole).FullyAllocatedBytes + (2 * bitmaps) + (16L * image.ClusterSizeBytes)
            : long.MaxValue;
    }
}
