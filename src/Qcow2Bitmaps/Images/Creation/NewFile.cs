using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Creation;

/// <summary>A file that is being made. Unless it is kept in the end, its name goes again, if there was nothing before.</summary>
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

    /// <summary>The file is whole.</summary>
    public void Keep() => _isKept = true;

    /// <summary>
    /// Gives the file a length and nothing but zeros, not durable yet; of a block device only the capacity is checked, and its bytes stay.
    /// </summary>
    /// <exception cref="Qcow2UnsupportedException">Space is to be taken on a block device.</exception>
    /// <exception cref="NoSpaceException">The block device is too small.</exception>
    public async ValueTask FillAsync(long lengthBytes, Preallocation preallocation, CancellationToken cancellationToken)
    {
        ReservedSpace.RequireFile(Storage, preallocation);
        ImageCreator.RequireRoom(Storage, lengthBytes);
        if (Storage.CapacityBytes is null)
        {
            await Storage.SetLengthAsync(0, cancellationToken).ConfigureAwait(false);
            await Storage.SetLengthAsync(lengthBytes, cancellationToken).ConfigureAwait(false);
            await ReservedSpace.TakeAsync(Storage, 0, lengthBytes, preallocation, cancellationToken).ConfigureAwait(false);
            // As data, also where the space is only set aside.
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
            // The error that ended the making is on its way and tells more.
        }
        finally
        {
            await Storage.DisposeAsync().ConfigureAwait(false);
        }
    }
}
