using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Creation;

/// <summary>Makes an image and its data file on disk, both or neither.</summary>
internal static class FileCreation
{
    public static async Task CreateAsync(string path, Qcow2CreateOptions options, CancellationToken cancellationToken)
    {
        CreationPlan plan = CreationPlan.Make(options);
        // Its locks first: an image that is in use stays as it is.
        NewFile image = NewFile.Create(path);
        await using (image.ConfigureAwait(false))
        {
            ImageCreator.RequireRoom(image.Storage, plan.Layout.LengthBytes);
            switch (options.DataFile)
            {
                case null:
                    await WriteAsync(plan, image, areDataZeros: true, cancellationToken).ConfigureAwait(false);
                    break;
                case not null when options.KeepDataFile:
                    await WriteKeepingAsync(plan, image, options.DataFile, cancellationToken).ConfigureAwait(false);
                    break;
                default:
                    NewFile data = NewFile.Create(options.DataFile);
                    await using (data.ConfigureAwait(false))
                    {
                        await data.FillAsync(plan.Geometry.VirtualSizeBytes, options.Preallocation, cancellationToken).ConfigureAwait(false);
                        await WriteAsync(plan, image, options.DataFileRaw || data.Storage.CapacityBytes is null, cancellationToken).ConfigureAwait(false);
                        data.Keep();
                    }

                    break;
            }
        }
    }

    /// <summary>The lock of a reader is enough to keep writers out: nothing is written.</summary>
    private static async ValueTask WriteKeepingAsync(CreationPlan plan, NewFile image, string dataPath, CancellationToken cancellationToken)
    {
        var data = FileStorage.Open(dataPath);
        await using (data.ConfigureAwait(false))
        {
            if (plan.Geometry.VirtualSizeBytes > CreationPlan.RoundUp(data.Length))
            {
                throw new IOException(
                    $"The data file '{PrintableText.Escape(dataPath)}' is kept as it is and has {data.Length} bytes: a disk of {plan.Geometry.VirtualSizeBytes} bytes does not fit");
            }

            await WriteAsync(plan, image, areDataZeros: true, cancellationToken).ConfigureAwait(false);
        }
    }

    private static async ValueTask WriteAsync(CreationPlan plan, NewFile image, bool areDataZeros, CancellationToken cancellationToken)
    {
        await new ImageCreator(plan, image.Storage).WriteAsync(areDataZeros, cancellationToken).ConfigureAwait(false);
        image.Keep();
    }
}
