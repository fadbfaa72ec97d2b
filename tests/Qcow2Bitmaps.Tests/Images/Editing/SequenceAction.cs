namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>What a step of a sequence does.</summary>
internal enum SequenceAction
{
    Add,
    Remove,
    Clear,
    Enable,
    Disable,
    Merge,
    /// <summary>QEMU writes to the disk: what records, records it.</summary>
    Write,
    /// <summary>A program of QEMU's is killed with the image open for writing: all bitmaps are inconsistent.</summary>
    Crash,
}
