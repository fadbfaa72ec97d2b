using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Finds the size that a volume needs after a change ran out of space: repeats the change in memory, where there is enough
/// space.</summary>
internal static class VolumeRoom
{
    /// <summary>Describes the required size.</summary>
    /// <param name="image">The image, unchanged.</param>
    /// <param name="e">The original error.</param>
    /// <param name="change">The change, applied to a stand-in for the image.</param>
    /// <returns>The exception to throw.</returns>
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
            // The required size stays unknown, but the lack of space is certain.
            return e;
        }

        long clusters = ImageGeometry.DivideRoundingUp(
            Math.Max(memory.WrittenEnd, capacity + e.NeededBytes), image.Geometry.ClusterSizeBytes);
        return NoSpaceException.OfVolume(storage.Name, clusters * image.Geometry.ClusterSizeBytes, capacity);
    }
}
