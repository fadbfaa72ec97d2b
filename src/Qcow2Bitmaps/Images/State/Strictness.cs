namespace Qcow2Bitmaps.Images.State;

/// <summary>How a reader handles invalid bytes.</summary>
internal enum Strictness
{
    /// <summary>Refuses what QEMU refuses, and shows of the rest what QEMU shows.</summary>
    AsQemu,
    /// <summary>
    /// Reads what can be read and reports the faults: broken directory entries, bitmaps that QEMU ignores because the autoclear bit is off,
    /// the last saved bits of bitmaps in use. For diagnosis and rescue: do not rely on the result as a record of changes.
    /// </summary>
    Lenient,
}
