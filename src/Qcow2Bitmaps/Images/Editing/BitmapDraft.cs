namespace Qcow2Bitmaps.Images.Editing;

/// <summary>The state of a bitmap after the steps of an edit so far.</summary>
internal sealed class BitmapDraft
{
    /// <summary>The name.</summary>
    public required string Name { get; set; }

    /// <summary>The granularity as a power of two.</summary>
    public required int GranularityBits { get; init; }

    /// <summary>The flags.</summary>
    public required BitmapFlags Flags { get; set; }

    /// <summary>The bitmap's stored directory entry; null for one that the edit added.</summary>
    public BitmapInfo? Stored { get; init; }

    /// <summary>The bits, once a step has needed them; null while they are as stored.</summary>
    public EditedContent? Content { get; set; }

    /// <summary>Whether a step may have changed the bits.</summary>
    public bool IsContentChanged { get; set; }

    /// <summary>
    /// The number of the last step that changed the bits, counted from 1 over all bitmaps; 0 for none. A bitmap that was merged into
    /// another and not changed afterwards has a lower number than that one.
    /// </summary>
    public long LastChange { get; set; }

    /// <summary>The new offset of the table.</summary>
    public ulong TableOffset { get; set; }

    /// <summary>The number of entries of the new table.</summary>
    public uint TableEntries { get; set; }

    /// <summary>The table that was written; null while it is as stored.</summary>
    public ulong[]? Table { get; set; }
}
