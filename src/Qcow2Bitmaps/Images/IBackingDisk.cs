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
}
