namespace Qcow2Bitmaps.Storage;

/// <summary>Which of QEMU's locks are taken on an image file. The table is that of qemu-img's commands.</summary>
/// <remarks>
/// Linux only, with open file description locks, which are not lost when the process closes another handle of the same file. Elsewhere, and
/// on file systems without such locks, nothing is locked, like QEMU's <c>locking=auto</c>.
/// </remarks>
public enum ImageLock
{
    /// <summary>No lock is taken or tested: <c>qemu-img info -U</c>.</summary>
    None,
    /// <summary>Metadata are read; no one else may write meanwhile: <c>qemu-img info</c>.</summary>
    Inspect,
    /// <summary>Data are read; no one else may write meanwhile: <c>qemu-img check</c>, a backing file in use.</summary>
    Read,
    /// <summary>Data are read while others may write: <c>qemu-img check -U</c>.</summary>
    SharedRead,
    /// <summary>The image is written; no one else may read or write it: <c>qemu-img bitmap</c>, a running VM.</summary>
    Write,
}
