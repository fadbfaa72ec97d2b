namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>What a step of a sequence does that qemu-img could not take as a whole.</summary>
internal enum OwnAction
{
    Add,
    Remove,
    RemoveAll,
    Clear,
    ClearRange,
    Set,
    Enable,
    Disable,
    Rename,
    Merge,
    MergeFromMemory,
    MergeFromImage,
}
