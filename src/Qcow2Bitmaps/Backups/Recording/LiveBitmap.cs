namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>A bitmap in memory, with QEMU's states. Not thread-safe.</summary>
internal sealed class LiveBitmap(string name, DirtyBitmap bits)
{
    public string Name => name;

    public DirtyBitmap Bits { get; private set; } = bits;

    public bool IsEnabled { get; set; }

    public bool IsPersistent { get; init; }

    public bool IsInconsistent { get; init; }

    public bool IsReadOnly { get; init; }

    /// <summary>Whether the bits may differ from those that are stored.</summary>
    public bool IsChanged { get; set; }

    /// <summary>Records writes instead of this bitmap while a job uses it.</summary>
    public DirtyBitmap? Successor { get; private set; }

    /// <summary>Whether an unfinished transaction removes it: it cannot be used otherwise, and its name is not free.</summary>
    public bool IsLeaving { get; set; }

    private bool IsBusy => Successor is not null || IsLeaving;

    /// <summary>Records a write.</summary>
    public void Record(long offsetBytes, long lengthBytes)
    {
        if (IsEnabled && !(Successor ?? Bits).AreAllDirty(offsetBytes, lengthBytes))
        {
            (Successor ?? Bits).Set(offsetBytes, lengthBytes);
            IsChanged = true;
        }
    }

    /// <summary>Replaces the bits.</summary>
    public void SetBits(DirtyBitmap bits)
    {
        Bits = bits;
        IsChanged = true;
    }

    /// <summary>Freezes the bits for a job; writes go to a successor from now on.</summary>
    public void Freeze() => Successor = new DirtyBitmap(Bits.SizeBytes, Bits.GranularityBytes);

    /// <summary>The job no longer needs the bits: the successor takes over.</summary>
    public void Abdicate()
    {
        SetBits(Successor!);
        Successor = null;
    }

    /// <summary>The bits become as if no job had used them.</summary>
    public void Reclaim()
    {
        Bits.Merge(Successor!);
        IsChanged = true;
        Successor = null;
    }

    /// <summary>The bits as they would be without a job.</summary>
    public DirtyBitmap StorableBits()
    {
        if (Successor is null)
        {
            return Bits;
        }

        DirtyBitmap all = Bits.Clone();
        all.Merge(Successor);
        return all;
    }

    /// <summary>Throws if the state does not allow the operation, in QEMU's order and words.</summary>
    /// <exception cref="BitmapStateException">The bitmap is busy, read-only or inconsistent.</exception>
    public void Require(bool allowsReadOnly = false, bool allowsInconsistent = false)
    {
        if (IsBusy)
        {
            throw new BitmapStateException(Name, $"Bitmap '{Name}' is currently in use by another operation and cannot be used");
        }

        if (IsReadOnly && !allowsReadOnly)
        {
            throw new BitmapStateException(Name, $"Bitmap '{Name}' is readonly and cannot be modified");
        }

        if (IsInconsistent && !allowsInconsistent)
        {
            throw new BitmapStateException(Name, $"Bitmap '{Name}' is inconsistent and cannot be used");
        }
    }

    public RecordedBitmap Describe() => new()
    {
        Name = Name,
        GranularityBytes = Bits.GranularityBytes,
        CountBytes = Bits.Count().Bits * Bits.GranularityBytes,
        IsRecording = IsEnabled,
        IsBusy = IsBusy,
        IsPersistent = IsPersistent,
        IsInconsistent = IsInconsistent,
        IsReadOnly = IsReadOnly,
        SuccessorCountBytes = Successor is null ? null : Successor.Count().Bits * Successor.GranularityBytes,
    };
}
