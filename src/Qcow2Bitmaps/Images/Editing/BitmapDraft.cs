namespace Qcow2Bitmaps.Images.Editing;

/// <summary>A bitmap as the steps of an edit have left it so far.</summary>
internal sealed class BitmapDraft
{
    /// <summary>The name.</summary>
    public required string Name { get; set; }

    /// <summary>The granularity as a power of two.</summary>
    public required int GranularityBits { get; init; }

    /// <summary>The flags.</summary>
    public required BitmapFlags Flags { get; set; }

    /// <summary>What the directory says of the bitmap; null for one that the edit has added.</summary>
    public BitmapInfo? Stored { get; init; }

    /// <summary>The bits, once a step has needed them; null while they are as stored.</summary>
    public EditedContent? Content { get; set; }

    /// <summary>Whether a step may have changed the bits.</summary>
    public bool IsContentChanged { get; set; }

    /// <summary>
    /// The number of the step that changed the bits last, from 1 over all bitmaps; 0 for none. What was merged
    /// into a bitmap as it stays has a lower one.
    /// </summary>
    public long LastChange { get; set; }

    /// <summary>Where the table is to be.</summary>
    public ulong TableOffset { get; set; }

    /// <summary>Entries of the table that is to be.</summary>
    public uint TableEntries { get; set; }

    /// <summary>The table that was written; null while it is as stored.</summary>
    public ulong[]? Table { get; set; }
}
