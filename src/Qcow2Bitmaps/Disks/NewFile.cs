using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Disks;

/// <summary>A file being created. Unless it is kept in the end, it is deleted again if it did not exist before.</summary>
internal sealed class NewFile : IAsyncDisposable
{
    private readonly bool _isNew;
    private bool _isKept;

    private NewFile(FileStorage storage, bool isNew)
    {
        Storage = storage;
        _isNew = isNew;
    }

    public FileStorage Storage { get; }

    /// <inheritdoc cref="FileStorage.Create(string, out bool)"/>
    public static NewFile Create(string path, FileRights rights) => new(FileStorage.Create(path, rights, out bool isNew), isNew);

    /// <summary>Marks the file as complete.</summary>
    public void Keep() => _isKept = true;

    /// <summary>
    /// Gives the file a length and fills it with zeros, not yet durable; for a block device, only checks the capacity, and keeps its bytes.
    /// </summary>
    /// <exception cref="Qcow2UnsupportedException">Preallocation of space was requested on a block device.</exception>
    /// <exception cref="NoSpaceException">The block device is too small.</exception>
    public async ValueTask FillAsync(long lengthBytes, Preallocation preallocation, CancellationToken cancellationToken)
    {
        ReservedSpace.RequireFile(Storage, preallocation);
        ReservedSpace.RequireRoom(Storage, lengthBytes);
        if (Storage.CapacityBytes is null)
        {
            await Storage.SetLengthAsync(0, cancellationToken).ConfigureAwait(false);
            await Storage.SetLengthAsync(lengthBytes, cancellationToken).ConfigureAwait(false);
            await ReservedSpace.TakeAsync(Storage, 0, lengthBytes, preallocation, cancellationToken).ConfigureAwait(false);
            // Written as data, even if the rest of the space is only reserved.
            await ReservedSpace.TakeFirstBlockAsync(Storage, cancellationToken).ConfigureAwait(false);
        }
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            if (_isNew && !_isKept)
            {
                Storage.Delete();
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The error that stopped the creation is already being thrown, and is more useful.
        }
        finally
        {
            await Storage.DisposeAsync().ConfigureAwait(false);
        }
    }
}
