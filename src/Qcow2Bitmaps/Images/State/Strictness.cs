
namespace Qcow2Bitmaps;

/// <summary>What a reader does about bytes that are not allowed.</summary>
public enum Strictness
{
    /// <summary>Refuses what QEMU refuses, and shows of the rest what QEMU shows.</summary>
    AsQemu,
    /// <summary>
    /// Reads what can be read and reports the faults beside it: broken directory entries, bitmaps that QEMU ignores because
    /// the autoclear bit is off, the last saved bits of bitmaps in use. For evidence and rescue: what it yields is not to be
    /// trusted as a record of changes.
    /// </summary>
    Lenient,
}
