using Qcow2Bitmaps.Images.Creation;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

public sealed partial class Qcow2Image
{
    /// <summary>
    /// Creates an image, and its data file if the options name one. Existing files are overwritten, unless the data file is to be kept.
    /// </summary>
    /// <param name="path">The image's path: a block device, or a regular file, which is created if it does not exist.</param>
    /// <param name="options">The image's properties.</param>
    /// <param name="cancellationToken">Cancels the creation.</param>
    /// <remarks>
    /// The image appears completely or not at all: the header is written last. If the creation fails, files that it created are removed;
    /// files that it overwrites are lost once writing has begun, but only after all options, locks and capacities were checked. The backing
    /// file is not opened. If it exists, a new file is readable only by users who may read the backing file. The relative path of a data
    /// file is stored as an absolute one, unless the image lies in the current folder.
    /// </remarks>
    /// <exception cref="ArgumentException">The options do not go together: see <see cref="Qcow2CreateOptions.FindFault"/>.</exception>
    /// <exception cref="ImageLockedException">The image or the data file is open elsewhere.</exception>
    /// <exception cref="NoSpaceException">A block device is too small; nothing is written.</exception>
    /// <exception cref="IOException">A file cannot be created or written, or a data file to be kept is shorter than the disk.</exception>
    /// <exception cref="UnauthorizedAccessException">The permissions forbid it.</exception>
    public static Task CreateAsync(string path, Qcow2CreateOptions options, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(path);
        return FileCreation.CreateAsync(path, options, FileRights.Plain, cancellationToken);
    }

    /// <summary>Creates an image in a storage; the storage's old content is lost.</summary>
    /// <param name="storage">The storage, which stays open; the caller is responsible for its locks.</param>
    /// <param name="options">The image's properties. The caller is responsible for the data file too: it is assumed to exist, and is read
    /// as it is.</param>
    /// <param name="cancellationToken">Cancels the creation; the storage then holds no image.</param>
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
