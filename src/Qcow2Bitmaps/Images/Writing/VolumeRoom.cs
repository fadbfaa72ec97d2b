using Qcow2Bitmaps.Format;
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
    public static async ValueTask<NoSpaceException> DescribeAsync(Qcow2Image image, NoSpaceException e, Func<Qcow2Image, ValueTask> change)
    {
        ImageStorage storage = image.Storage;
        if (e.VolumeBytes is not null || storage is RehearsalStorage || storage.CapacityBytes is not { } capacity)
        {
            return e;
        }

        var memory = new RehearsalStorage(storage, isBounded: false);
        try
        {
            var options = new Qcow2OpenOptions { Strictness = image.Strictness, Limits = image.Limits };
            Qcow2Image copy = await Qcow2Image.OpenAsync(memory, options, leaveOpen: true).ConfigureAwait(false);
            await using (copy.ConfigureAwait(false))
            {
                await change(copy).ConfigureAwait(false);
            }
        }
        catch (IOException)
        {
            // How much is needed stays unknown; that there is no space does not.
            return e;
        }

        long clusters = ImageGeometry.DivideRoundingUp(Math.Max(memory.WrittenEnd, capacity + e.NeededBytes), image.ClusterSizeBytes);
        return NoSpaceException.OfVolume(storage.Name, clusters * image.ClusterSizeBytes, capacity);
    }
}
