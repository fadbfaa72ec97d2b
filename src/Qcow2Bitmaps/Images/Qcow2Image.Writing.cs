using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Images.Guest;

namespace Qcow2Bitmaps;

/// <summary>Writing guest data.</summary>
public sealed partial class Qcow2Image
{
    /// <summary>
    /// Opens a writer of guest data. An image with a backing file or an external data file must be opened as a chain instead. Writes are
    /// marked in recording bitmaps, as by <see cref="ImageChain.OpenWriterAsync(CancellationToken)"/>.
    /// </summary>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The writer; dispose it before the image.</returns>
    /// <exception cref="InvalidOperationException">The image has a writer already, or other files are needed.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image is open for reading only, or encrypted.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt, or its refcounts cannot be relied on.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async Task<Disk> OpenWriterAsync(CancellationToken cancellationToken = default)
    {
        if (BackingFile is not null || Header.HasExternalDataFile)
        {
            throw new InvalidOperationException(
                PrintableMessage.Of($"'{Name}' has a backing file or a data file: open its chain for writing"));
        }

        GuestDisk disk = await GuestDisk.OpenAsync(Handle, null, cancellationToken).ConfigureAwait(false);
        try
        {
            return await GuestWriter.OpenAsync(Handle, disk, null, null, marksWrites: true, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            disk.Dispose();
            throw;
        }
    }
}
