using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Naming;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Creation;

/// <summary>Makes an image and its data file on disk, both or neither.</summary>
internal static class FileCreation
{
    /// <summary>Creates the files.</summary>
    /// <param name="path">The image's path.</param>
    /// <param name="options">The image's properties.</param>
    /// <param name="rights">The rights of what it is made of, besides its backing file and a data file that is kept.</param>
    /// <param name="cancellationToken">Cancels the creation.</param>
    public static async Task CreateAsync(string path, Qcow2CreateOptions options, FileRights rights, CancellationToken cancellationToken)
    {
        CreationPlan plan = CreationPlan.Make(options);
        rights = options.BackingFile is { } backing && !ImagePath.HasProtocol(backing)
            ? rights.With(ImagePath.Combine(path, backing))
            : rights;
        // Takes the image's locks first: an image in use is not changed.
        NewFile image = NewFile.Create(path, options is { KeepDataFile: true, DataFile: { } kept } ? rights.With(kept) : rights);
        await using (image.ConfigureAwait(false))
        {
            plan = options.DataFile is { } dataFile ? PlanNaming(StoredName.OfDataFile(dataFile, path), options) : plan;
            ReservedSpace.RequireRoom(image.Storage, plan.Layout.LengthBytes);
            switch (options.DataFile)
            {
                case null:
                    await WriteAsync(plan, image, areDataZeros: true, showsDataFile: false, cancellationToken).ConfigureAwait(false);
                    break;
                case not null when options.KeepDataFile:
                    await WriteKeepingAsync(plan, image, options.DataFile, cancellationToken).ConfigureAwait(false);
                    break;
                default:
                    NewFile data = NewFile.Create(options.DataFile, rights);
                    await using (data.ConfigureAwait(false))
                    {
                        await RequireNoDataAsync(data.Storage, cancellationToken).ConfigureAwait(false);
                        await data.FillAsync(
                            plan.Geometry.VirtualSizeBytes, options.Preallocation, cancellationToken).ConfigureAwait(false);
                        await data.Storage.FlushAsync(cancellationToken).ConfigureAwait(false);
                        bool isDevice = data.Storage.CapacityBytes is not null;
                        await WriteAsync(
                            plan, image, options.DataFileRaw || !isDevice, showsDataFile: options.DataFileRaw && isDevice,
                            cancellationToken).ConfigureAwait(false);
                        data.Keep();
                    }

                    break;
            }
        }
    }

    private static CreationPlan PlanNaming(string dataFile, Qcow2CreateOptions options) =>
        CreationPlan.TryMake(options with { DataFile = dataFile }, out string? fault)
            ?? throw IOException.Of($"The data file is stored as '{dataFile}': {fault}");

    /// <summary>Refuses an existing file that has data, which would be lost; a device keeps its bytes.</summary>
    private static async ValueTask RequireNoDataAsync(FileStorage data, CancellationToken cancellationToken)
    {
        if (data.CapacityBytes is null
            && await NonZeroSearch.FindAsync(data, 0, data.Length, cancellationToken).ConfigureAwait(false) is { } found)
        {
            throw IOException.Of(
                $"The data file '{data.Name}' exists and has data, first at byte {found}, which would be lost: "
                + $"keep_data_file=on with data_file_raw=on makes an image around it; remove it to have a new one");
        }
    }

    /// <summary>Nothing is written to the data file: a reader's lock is enough to keep writers out.</summary>
    private static async ValueTask WriteKeepingAsync(CreationPlan plan, NewFile image, string dataPath, CancellationToken cancellationToken)
    {
        var data = FileStorage.Open(dataPath);
        await using (data.ConfigureAwait(false))
        {
            ReservedSpace.RequireRoom(data, plan.Geometry.VirtualSizeBytes);
            if (plan.Geometry.VirtualSizeBytes > RawDisk.SizeOf(data))
            {
                throw IOException.Of(
                    $"The data file '{dataPath}' is kept as it is and has {data.Length} bytes: a disk of {plan.Geometry.VirtualSizeBytes} "
                    + $"bytes does not fit");
            }

            await WriteAsync(plan, image, areDataZeros: true, showsDataFile: true, cancellationToken).ConfigureAwait(false);
        }
    }

    private static async ValueTask WriteAsync(
        CreationPlan plan, NewFile image, bool areDataZeros, bool showsDataFile, CancellationToken cancellationToken)
    {
        await new ImageCreator(plan, image.Storage, showsDataFile).WriteAsync(areDataZeros, cancellationToken).ConfigureAwait(false);
        image.Keep();
    }
}
