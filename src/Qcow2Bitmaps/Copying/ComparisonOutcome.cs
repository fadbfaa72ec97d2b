namespace Qcow2Bitmaps;

/// <summary>What a comparison of two disks found.</summary>
public enum ComparisonOutcome
{
    /// <summary>The guest sees the same bytes; if one disk is longer, its rest is zeros.</summary>
    Identical,
    /// <summary>The bytes differ.</summary>
    ContentDiffers,
    /// <summary>Strict comparison only: one disk is longer.</summary>
    SizesDiffer,
    /// <summary>Strict comparison only: the images have a part of the disk in different ways.</summary>
    StatusDiffers,
}
