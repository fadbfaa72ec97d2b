using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>Decides which backing files are opened, and opens them: the gate between names inside images and the system.</summary>
public interface IBackingResolver
{
    /// <summary>Opens the backing file that an image names.</summary>
    /// <param name="reference">What the image says.</param>
    /// <param name="imageLock">The locks to take.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>The opened storage. Names stored inside it are relative to its <see cref="ImageStorage.Name"/>.</returns>
    /// <exception cref="Qcow2UnsupportedException">The name is refused.</exception>
    /// <exception cref="IOException">The file cannot be opened.</exception>
    Task<ImageStorage> OpenAsync(BackingReference reference, ImageLock imageLock, CancellationToken cancellationToken = default);
}
