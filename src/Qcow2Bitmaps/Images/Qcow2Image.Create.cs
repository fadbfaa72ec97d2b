using Qcow2Bitmaps.Images.Creation;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

public sealed partial class Qcow2Image
{
    /// <summary>
    /// Makes an image, and its data file where the options name one. Existing files are overwritten, unless the data file is to be kept.
    /// </summary>
    /// <param name="path">The image's path: a regular file, made where there is nothing, or a block device.</param>
    /// <param name="options">What the image is like.</param>
    /// <param name="cancellationToken">Ends the making.</param>
    /// <remarks>
    /// The image appears whole or not at all: the header is written last. When the making fails, files that it made are removed again;
    /// those that it overwrites are lost once writing has begun, but not before all options, locks and capacities have been looked at. The
    /// backing file is not opened; nobody may read a new file who may not read that, where it exists. The relative path of a data file is
    /// stored as a whole one, unless the image lies in the current folder.
    /// </remarks>
    /// <exception cref="ArgumentException">The options do not go together: see <see cref="Qcow2CreateOptions.FindFault"/>.</exception>
    /// <exception cref="ImageLockedException">Somebody else has the image or the data file open.</exception>
    /// <exception cref="NoSpaceException">A block device is too small; nothing is written.</exception>
    /// <exception cref="IOException">A file cannot be made or written, or a data file that is to be kept is
    /// shorter than the disk.</exception>
    /// <exception cref="UnauthorizedAccessException">The permissions forbid it.</exception>
    public static Task CreateAsync(string path, Qcow2CreateOptions options, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(path);
        return FileCreation.CreateAsync(path, options, FileRights.Plain, cancellationToken);
    }

    /// <summary>Makes an image in a storage, whose old content is lost.</summary>
    /// <param name="storage">The storage, which stays open; its locks are the caller's business.</param>
    /// <param name="options">What the image is like. The data file is the caller's business too: it is
    /// taken to exist, and to read as it is.</param>
    /// <param name="cancellationToken">Ends the making; what is in the storage then is no image.</param>
    /// <exception cref="ArgumentException">The options do not go together: see <see cref="Qcow2CreateOptions.FindFault"/>.</exception>
    /// <exception cref="NoSpaceException">The storage is too small and cannot grow; nothing is written.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    /// <exception cref="NotSupportedException">The storage is read-only.</exception>
    public static async Task CreateAsync(ImageStorage storage, Qcow2CreateOptions options, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(storage);
        var plan = CreationPlan.Make(options);
        await new ImageCreator(plan, storage).WriteAsync(areDataZeros: true, cancellationToken).ConfigureAwait(false);
    }
}
