using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>Decides which files that images name are opened, and opens them: the gate between names inside images and the system.</summary>
/// <remarks>Chains may call it concurrently.</remarks>
public interface IBackingResolver
{
    /// <summary>
    /// Opens the backing file, or the external data file (<see cref="BackingReference.IsDataFile"/>), that an image names, for
    /// <see cref="BackingReference.Access"/>.
    /// </summary>
    /// <param name="reference">What the image says.</param>
    /// <param name="imageLock">The locks to take.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>The opened storage, which the chain disposes. Names stored inside it are relative to its <see cref="ImageStorage.Name"/>.
    /// </returns>
    /// <exception cref="Qcow2UnsupportedException">The name is refused.</exception>
    /// <exception cref="IOException">The file cannot be opened.</exception>
    Task<ImageStorage> OpenAsync(BackingReference reference, ImageLock imageLock, CancellationToken cancellationToken = default);
}
