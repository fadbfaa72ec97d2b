namespace Qcow2Bitmaps.Operations;

/// <summary>What helps where a bitmap is not valid over a chain.</summary>
public enum Remedy
{
    /// <summary>Rebuilding it from what the images have (<see cref="ChainPopulate"/>), without consent to anything: afterwards it is valid and knows of all changes.</summary>
    Populate,
    /// <summary>Repairing the image that is at fault, of which an entry or a table is broken: bits in doubt become dirty.</summary>
    Repair,
    /// <summary>Nothing is broken: another process has the image open, and has to be asked, or waited for.</summary>
    Wait,
    /// <summary>Removing it from all images (<see cref="ChainBitmaps.DeleteAsync"/>): what changed cannot be told any more, and a full backup has to be taken.</summary>
    Delete,
}
