using Qcow2Bitmaps.Images.Editing;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>Loading from the image, and storing in it.</summary>
public sealed partial class RecordingSession
{
    /// <summary>Deletes bitmaps from the image at once. The caller must hold the session exclusively.</summary>
    internal async ValueTask DeleteStoredAsync(IEnumerable<string> names, CancellationToken cancellationToken)
    {
        var edit = new BitmapEdit();
        foreach (string name in names.Where(name => Image.Bitmaps.TryGet(name, out _)))
        {
            edit.Remove(name);
        }

        if (edit.Count > 0)
        {
            await EditAsync(edit, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Marks all stored bitmaps as in use if they look valid: from now on they lack something. The caller must hold the session
    /// exclusively.
    /// </summary>
    internal async ValueTask MarkStoredAsync(CancellationToken cancellationToken)
    {
        if (_isStored && _writer is not null)
        {
            await EditAsync(new BitmapEdit().MarkInUse(), cancellationToken).ConfigureAwait(false);
            _isStored = false;
        }
    }

    private async ValueTask LoadAsync(CancellationToken cancellationToken)
    {
        // Of two bitmaps with one name, the second is in use, or the image would not have opened. QEMU does not check it either.
        foreach (BitmapInfo info in Image.Bitmaps.Where(info => FindLive(info.Name) is null))
        {
            _bitmaps.Add(await LoadAsync(info, cancellationToken).ConfigureAwait(false));
        }

        if (_writer is null)
        {
            return;
        }

        using ImageGate.Release alone = await Image.Handle.EnterAsync(cancellationToken).ConfigureAwait(false);
        Image.Handle.RequireNotRecorded();
        InterruptedEdit.RequireNone(Image.Handle);
        await BitmapEditing.RunAloneAsync(Image.Handle, new BitmapEdit().MarkInUse().ApplyAsync, cancellationToken).ConfigureAwait(false);
        _isStored = false;
        Image.Handle.Gate.Recorder = this;
    }

    private async ValueTask<LiveBitmap> LoadAsync(BitmapInfo info, CancellationToken cancellationToken)
    {
        var bits = new DirtyBitmap(SizeBytes, info.GranularityBytes);
        bool misses = false;
        if (info.State != BitmapState.Inconsistent)
        {
            PersistentBitmap pages = await PersistentBitmap.OpenAsync(
                Image.Handle, info, Image.Handle.NewLog(), cancellationToken).ConfigureAwait(false);
            if (pages.Aliases is { } aliases)
            {
                throw new Qcow2FormatException(aliases, Image.Name);
            }

            await bits.MergeAsync(pages, cancellationToken).ConfigureAwait(false);
            // Parts missing in the file count as dirty, but would read as clean once the file has grown.
            misses = pages.MissesBits;
        }

        return new LiveBitmap(info.Name, bits)
        {
            IsEnabled = info.State == BitmapState.Recording,
            IsPersistent = true,
            IsInconsistent = info.State == BitmapState.Inconsistent,
            IsReadOnly = _writer is null,
            IsChanged = misses,
        };
    }

    /// <summary>Stores all. The caller must hold the session exclusively.</summary>
    private async ValueTask StoreAsync(CancellationToken cancellationToken)
    {
        if (_writer is null)
        {
            return;
        }

        // A bitmap that is stored says that all written data are durable.
        _writer.RequireIntact();
        var edit = new BitmapEdit();
        LiveBitmap[] stored = [.. _bitmaps.Where(static bitmap => bitmap.IsPersistent && !bitmap.IsInconsistent)];
        foreach (LiveBitmap bitmap
            in stored.Where(bitmap => Image.Bitmaps.TryGet(bitmap.Name, out _)).Concat(
                Enumerable.Reverse(stored).Where(bitmap => !Image.Bitmaps.TryGet(bitmap.Name, out _))))
        {
            edit.Store(bitmap.Name, bitmap.StorableBits(), bitmap.IsEnabled, bitmap.IsChanged);
        }

        // Set even if the edit fails, as the image may have been switched.
        _isStored = true;
        await EditAsync(edit, cancellationToken, stores: true).ConfigureAwait(false);
        foreach (LiveBitmap bitmap in stored)
        {
            bitmap.IsChanged = false;
        }
    }

    /// <summary>Marks all stored bitmaps as in use again, before the first write after a checkpoint.</summary>
    private async ValueTask MarkInUseAsync(CancellationToken cancellationToken)
    {
        using SharedLock.Release alone = await EnterAloneAsync(cancellationToken).ConfigureAwait(false);
        await MarkStoredAsync(cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask EditAsync(BitmapEdit edit, CancellationToken cancellationToken, bool stores = false)
    {
        // The writer is idle meanwhile, and all its data are on disk.
        using ImageGate.Release alone = await Image.Handle.EnterAsync(cancellationToken).ConfigureAwait(false);
        if (stores)
        {
            // A flush that ran beside may have failed since the writer was asked.
            _writer?.RequireIntact();
        }

        if (_isUncertain)
        {
            await Image.Handle.ReloadAsync().ConfigureAwait(false);
        }

        _isUncertain = true;
        await BitmapEditing.RunAloneAsync(Image.Handle, edit.ApplyAsync, cancellationToken).ConfigureAwait(false);
        _isUncertain = false;
    }

    private async ValueTask StoreAndCloseAsync()
    {
        try
        {
            await StoreAsync(CancellationToken.None).ConfigureAwait(false);
        }
        catch
        {
            await CloseImageAsync().ConfigureAwait(false);
            throw;
        }

        if (_writer is null)
        {
            await CloseImageAsync().ConfigureAwait(false);
            return;
        }

        // Storing the bitmaps made all written data durable; nothing was written since.
        _ = await Leftovers.TidyAsync(
            $"'{Name}': all is stored, but it was not closed without an error", CloseImageAsync).ConfigureAwait(false);
    }

    private async ValueTask CloseImageAsync()
    {
        try
        {
            if (_writer is not null)
            {
                await _writer.DisposeAsync().ConfigureAwait(false);
            }
        }
        finally
        {
            if (_writer is not null)
            {
                Image.Handle.Gate.Recorder = null;
            }

            if (!_leaveOpen)
            {
                await _chain.DisposeAsync().ConfigureAwait(false);
            }
        }
    }
}
