using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Finds how large a volume has to be on which a change of an image found no room: by doing the change once more in memory, where
/// there is room.</summary>
internal static class VolumeRoom
{
    /// <summary>Says it.</summary>
    /// <param name="image">The image, which is as before the change.</param>
    /// <param name="e">What was said.</param>
    /// <param name="change">The change, on a stand-in for the image.</param>
    /// <returns>What is to be thrown.</returns>
    public static async ValueTask<NoSpaceException> DescribeAsync(
        ImageHandle image, NoSpaceException e, Func<ImageHandle, ValueTask> change)
    {
        ImageStorage storage = image.Storage;
        if (e.VolumeBytes is not null || storage is RehearsalStorage || storage.CapacityBytes is not { } capacity)
        {
            return e;
        }

        var memory = new RehearsalStorage(storage, isBounded: false);
        try
        {
            await change(await ImageHandle
                .OpenAsync(memory, image.Strictness, image.Limits, CancellationToken.None).ConfigureAwait(false)).ConfigureAwait(false);
        }
        catch (IOException)
        {
            // How much is needed stays unknown; that there is no space does not.
            return e;
        }

        long clusters = ImageGeometry.DivideRoundingUp(
            Math.Max(memory.WrittenEnd, capacity + e.NeededBytes), image.Geometry.ClusterSizeBytes);
        return NoSpaceException.OfVolume(storage.Name, clusters * image.Geometry.ClusterSizeBytes, capacity);
    }
}
