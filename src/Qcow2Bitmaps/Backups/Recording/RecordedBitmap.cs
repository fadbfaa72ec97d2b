namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>A snapshot of the state of a session's bitmap, as QEMU's <c>query-block</c> shows it. Immutable.</summary>
public sealed record RecordedBitmap
{
    internal RecordedBitmap()
    {
    }

    /// <summary>The name.</summary>
    public string Name { get; internal init; } = "";

    /// <summary>How many bytes of the disk a bit stands for.</summary>
    public long GranularityBytes { get; internal init; }

    /// <summary>
    /// The number of dirty granules times their size in bytes, which may exceed the disk's size. While a job uses the bitmap: what was
    /// dirty when the job began.
    /// </summary>
    public long CountBytes { get; internal init; }

    /// <summary>Whether writes are recorded, also while a job uses the bitmap.</summary>
    public bool IsRecording { get; internal init; }

    /// <summary>Whether a job uses the bitmap, so that nothing else may.</summary>
    public bool IsBusy { get; internal init; }

    /// <summary>Whether the bitmap is stored in the image.</summary>
    public bool IsPersistent { get; internal init; }

    /// <summary>Whether the stored bitmap lacks changes: it can only be removed.</summary>
    public bool IsInconsistent { get; internal init; }

    /// <summary>Whether the bitmap cannot be changed, as it comes from an image that is open for reading only.</summary>
    internal bool IsReadOnly { get; init; }

    /// <summary>
    /// While a job uses the bitmap: dirty bytes that were recorded since it began, as <see cref="CountBytes"/> counts. QEMU shows
    /// them as a bitmap without a name. Else null.
    /// </summary>
    public long? SuccessorCountBytes { get; internal init; }
}
