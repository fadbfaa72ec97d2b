using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>What an image says about its backing file, or its data file. Untrusted: it is whatever stands in the image.</summary>
/// <param name="ImagePath">The path of the image that says it, as it was opened.</param>
/// <param name="FileName">The file's name.</param>
/// <param name="Format">The file's format; null when the image does not say.</param>
/// <param name="Depth">The file's index in the chain, counted from the top image, which is 0; of a data file that of its image.</param>
public sealed record BackingReference(string ImagePath, string FileName, string? Format, int Depth)
{
    /// <summary>What the file is opened for.</summary>
    public StorageAccess Access { get; init; } = StorageAccess.Read;

    /// <summary>Whether it is the file that holds the image's guest data, and not its backing file.</summary>
    public bool IsDataFile { get; init; }

    /// <summary>The file as an error names it.</summary>
    internal string Description => $"{(IsDataFile ? "data file" : "backing file")} '{FileName}' of '{ImagePath}'";

    /// <summary>Opens the file. Where there is none, or it cannot be opened, the error says which image names it.</summary>
    /// <param name="resolver">Who opens it.</param>
    /// <param name="imageLock">The lock that it gets.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>Its storage, to be disposed.</returns>
    /// <exception cref="Qcow2UnsupportedException">The name is refused.</exception>
    /// <exception cref="IOException">The file cannot be opened.</exception>
    internal async ValueTask<ImageStorage> OpenAsync(
        IBackingResolver resolver, ImageLock imageLock, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(resolver);
        try
        {
            return await resolver.OpenAsync(this, imageLock, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException or UnauthorizedAccessException)
        {
            string place = IsDataFile ? "" : $"image {Depth}, ";
            throw new FileNotFoundException(
                PrintableMessage.Of($"{e} ({place}which '{ImagePath}' names as its {(IsDataFile ? "data" : "backing")} file)"), FileName,
                e);
        }
    }
}
