using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Editing;

namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>The effects on bitmaps of the steps of a <see cref="RecordingTransaction"/>.</summary>
public sealed partial class RecordingSession
{
    /// <summary>Copies a bitmap's bits: if it is busy, those that the job uses; if it is inconsistent, none are set.</summary>
    /// <param name="name">Its name.</param>
    /// <exception cref="BitmapStateException">There is no such bitmap.</exception>
    public DirtyBitmap CopyBits(string name)
    {
        lock (_bits)
        {
            return Require(name).Bits.Clone();
        }
    }

    /// <summary>Starts a backup: the target becomes what the disk is now, despite later writes.</summary>
    /// <param name="options">What to copy, and the target.</param>
    /// <param name="cancellationToken">Cancels only the wait for the start; a running job is cancelled through the job itself.</param>
    /// <returns>The job, which runs.</returns>
    /// <inheritdoc cref="RecordingTransaction.CommitAsync" path="/exception"/>
    public async Task<BackupJob> StartBackupAsync(BackupJobOptions options, CancellationToken cancellationToken = default) =>
        (await new RecordingTransaction().Backup(this, options).CommitAsync(cancellationToken).ConfigureAwait(false))[0];

    /// <summary>Adds a bitmap. For this and everything below, the caller must hold the session exclusively.</summary>
    /// <returns>The action that undoes it.</returns>
    internal Action ApplyAdd(string name, long? granularityBytes, bool isPersistent, bool isRecording)
    {
        string? fault = BitmapName.FaultOf(name);
        if (name.Length == 0)
        {
            throw new BitmapStateException(name, fault!);
        }

        long granularity = granularityBytes ?? BitmapGranularity.DefaultBytes(Image.ClusterSizeBytes);
        if (granularity < 1L << BitmapGranularity.MinBits || !System.Numerics.BitOperations.IsPow2(granularity))
        {
            throw new BitmapStateException(name, "Granularity must be power of 2 and at least 512");
        }

        if (fault is not null)
        {
            throw isPersistent && ImageText.Encode(name).Length > BitmapName.MaxBytes
                ? CannotPersist(name, $"Name length exceeds maximum ({BitmapName.MaxBytes} characters)")
                : new BitmapStateException(name, fault);
        }

        if (isPersistent)
        {
            RequireStorable(name, granularity, isRecording);
        }

        if (FindLive(name) is not null)
        {
            throw new BitmapStateException(name, $"Bitmap already exists: {name}");
        }

        DirtyBitmap bits = NewBits(name, granularity);
        var bitmap = new LiveBitmap(name, bits) { IsEnabled = isRecording, IsPersistent = isPersistent, IsChanged = true };
        _bitmaps.Add(bitmap);
        return () => _bitmaps.Remove(bitmap);
    }

    /// <summary>Removes a bitmap at the end of the transaction; until then it is busy, as in QEMU.</summary>
    internal (Action Undo, bool IsStored) ApplyRemove(string name)
    {
        LiveBitmap bitmap = Require(name);
        bitmap.Require(allowsInconsistent: true);
        bitmap.IsLeaving = true;
        return (() => bitmap.IsLeaving = false, bitmap.IsPersistent);
    }

    /// <summary>Ends the removal: all steps are accepted.</summary>
    internal void CompleteRemoval() => WithBits(() => _bitmaps.RemoveAll(static bitmap => bitmap.IsLeaving));

    internal Action ApplyClear(string name)
    {
        LiveBitmap bitmap = Require(name);
        bitmap.Require();
        return Replace(bitmap, new DirtyBitmap(bitmap.Bits.SizeBytes, bitmap.Bits.GranularityBytes));
    }

    /// <summary>Whether a bitmap is stored in the image: bits added to it in memory must not be missing there.</summary>
    internal bool IsInImage(string name) => FindLive(name) is { IsPersistent: true } && Image.Bitmaps.TryGet(name, out _);

    internal Action ApplyEnabled(string name, bool isEnabled)
    {
        LiveBitmap bitmap = Require(name);
        bitmap.Require(allowsReadOnly: true);
        bool before = bitmap.IsEnabled;
        bitmap.IsEnabled = isEnabled;
        return () => bitmap.IsEnabled = before;
    }

    internal Action ApplyMerge(string into, RecordingSession sourceSession, string source)
    {
        LiveBitmap target = Require(into);
        LiveBitmap other = sourceSession.Require(source);
        target.Require();
        other.Require(allowsReadOnly: true);
        return ApplyMerge(into, other.Bits);
    }

    internal Action ApplyMerge(string into, DirtyBitmap bits)
    {
        LiveBitmap target = Require(into);
        target.Require();
        if (bits.SizeBytes != SizeBytes)
        {
            throw new BitmapStateException(
                into,
                $"Bitmaps are of different sizes (destination size is {SizeBytes}, source size is {bits.SizeBytes}) and can't be "
                + $"merged");
        }

        DirtyBitmap merged = target.Bits.Clone();
        merged.Merge(bits);
        return Replace(target, merged);
    }

    private static Action Replace(LiveBitmap bitmap, DirtyBitmap bits)
    {
        DirtyBitmap before = bitmap.Bits;
        bool wasChanged = bitmap.IsChanged;
        bitmap.SetBits(bits);
        return () =>
        {
            bitmap.SetBits(before);
            bitmap.IsChanged = wasChanged;
        };
    }

    private DirtyBitmap NewBits(string name, long granularity)
    {
        try
        {
            return new DirtyBitmap(SizeBytes, granularity);
        }
        catch (ArgumentOutOfRangeException e)
        {
            throw new BitmapStateException(name, $"Bitmap '{name}': {e}");
        }
    }

    /// <summary>Refuses a persistent bitmap that could not be stored, considering others that are still to be stored.</summary>
    private void RequireStorable(string name, long granularity, bool isRecording)
    {
        if (_writer is null)
        {
            // QEMU accepts it, and loses it when the image is closed.
            throw CannotPersist(name, "No write access");
        }

        if (granularity > 1L << BitmapGranularity.MaxBits)
        {
            throw CannotPersist(name, $"Granularity exceeds maximum ({1L << BitmapGranularity.MaxBits} bytes)");
        }

        var plan = new EditPlan(Image.Handle);
        foreach (LiveBitmap other
            in _bitmaps.Where(other => other is { IsPersistent: true, IsLeaving: false } && !Image.Bitmaps.TryGet(other.Name, out _)))
        {
            plan.Add(other.Name, other.Bits.GranularityBytes, other.IsEnabled);
        }

        foreach (string gone
            in Image.Bitmaps.Select(static bitmap => bitmap.Name).Where(
                stored => FindLive(stored) is not { IsPersistent: true, IsLeaving: false }))
        {
            plan.Remove(gone);
        }

        if (FindLive(name)?.IsPersistent != true)
        {
            plan.Add(name, granularity, isRecording);
        }
    }

    private BitmapStateException CannotPersist(string name, string why) =>
        new(name, $"Can't make bitmap '{name}' persistent in '{Name}': {why}");

    private LiveBitmap? FindLive(string name) => _bitmaps.Find(bitmap => string.Equals(bitmap.Name, name, StringComparison.Ordinal));

    private LiveBitmap Require(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return FindLive(name) ?? throw new BitmapStateException(name, $"Dirty bitmap '{name}' not found");
    }
}
