using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>An image's reference to its backing file or its data file. Untrusted: it is read from the image as it is.</summary>
public sealed record BackingReference
{
    internal BackingReference(string imagePath, string fileName, string? format, int depth) =>
        (ImagePath, FileName, Format, Depth) = (imagePath, fileName, format, depth);

    /// <summary>The path of the image that contains the reference, as it was opened.</summary>
    public string ImagePath { get; }

    /// <summary>The file's name.</summary>
    public string FileName { get; }

    /// <summary>The file's format; null when the image does not state it.</summary>
    public string? Format { get; }

    /// <summary>What the file is opened for.</summary>
    public FileAccess Access { get; internal init; } = FileAccess.Read;

    /// <summary>Whether the file is the image's external data file rather than its backing file.</summary>
    public bool IsDataFile { get; internal init; }

    /// <summary>The file's index in the chain; the top image is 0. For a data file, the index of its image.</summary>
    internal int Depth { get; }

    /// <summary>The file as an error names it.</summary>
    internal string Description => $"{(IsDataFile ? "data file" : "backing file")} '{FileName}' of '{ImagePath}'";

    /// <summary>Opens the file. If it does not exist or cannot be opened, the error states which image refers to it.</summary>
    /// <param name="resolver">Opens the file.</param>
    /// <param name="imageLock">The lock to take on it.</param>
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
