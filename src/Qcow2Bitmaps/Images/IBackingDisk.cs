using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images;

/// <summary>The disk below an image: what shows where the image itself has nothing.</summary>
public interface IBackingDisk
{
    /// <summary>The disk's size in bytes.</summary>
    long SizeBytes { get; }

    /// <summary>Reads bytes.</summary>
    /// <param name="offsetBytes">Where to start on the disk.</param>
    /// <param name="buffer">Takes the bytes; filled whole, with zeros behind the disk's end.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="IOException">The disk cannot be read.</exception>
    ValueTask ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken);

    /// <summary>Lists the parts of a range that may not read as zeros. A disk that does not know lists all of it, as is done here.</summary>
    /// <param name="startBytes">Where the range starts on the disk.</param>
    /// <param name="endBytes">Where it ends, at most at the disk's end.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The parts, in ascending order; what is not listed reads as zeros for sure.</returns>
    /// <exception cref="IOException">The disk cannot be read.</exception>
    IAsyncEnumerable<StorageRange> ListDataAsync(long startBytes, long endBytes, CancellationToken cancellationToken) =>
        new[] { new StorageRange(startBytes, endBytes) }.ToAsyncEnumerable();
}
