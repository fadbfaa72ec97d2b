using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Guest;
using Qcow2Bitmaps.Images.Writing;

namespace Qcow2Bitmaps.Images;

/// <summary>Writing guest data, and what excludes that.</summary>
public sealed partial class Qcow2Image
{
    /// <summary>Opens a writer of what the guest sees. Of an image with a backing file or an external data file the chain opens it.</summary>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The writer, to be disposed before the image.</returns>
    /// <exception cref="InvalidOperationException">The image has a writer already, or other files are needed.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image is open for reading only, or encrypted.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt, or its refcounts cannot be relied on.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<GuestWriter> OpenWriterAsync(CancellationToken cancellationToken = default)
    {
        if (BackingFile is not null || Header.HasExternalDataFile)
        {
            throw new InvalidOperationException(PrintableMessage.Of($"'{Name}' has a backing file or a data file: open its chain for writing"));
        }

        GuestDisk disk = await GuestDisk.OpenAsync(this, null, cancellationToken).ConfigureAwait(false);
        return await GuestWriter.OpenAsync(this, disk, null, null, marksWrites: true, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Changes tables that a writer of guest data works on, when there is none, and reads again what the image says then.</summary>
    private async ValueTask ChangeTablesAsync(Func<ValueTask> change, Func<Qcow2Image, ValueTask> again, CancellationToken cancellationToken)
    {
        await EnterAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            RequireNoInterruptedEdit();
            if (_editing.Writer is not null)
            {
                throw new InvalidOperationException("A writer of guest data is open on the image; it is to be disposed first.");
            }

            try
            {
                await change().ConfigureAwait(false);
            }
            catch (NoSpaceException e)
            {
                throw await VolumeRoom.DescribeAsync(this, e, again).ConfigureAwait(false);
            }
            finally
            {
                await ReloadAfterSwitchAsync().ConfigureAwait(false);
            }
        }
        finally
        {
            _editing.Release();
        }
    }
}
