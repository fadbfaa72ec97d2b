namespace Qcow2Bitmaps.Storage;

/// <summary>Which of QEMU's locks are taken on an image file. The table is that of qemu-img's commands.</summary>
/// <remarks>
/// Linux only, with open file description locks, which a process that closes another handle of the file keeps. Elsewhere, and
/// on file systems without such locks, nothing is locked, as QEMU's <c>locking=auto</c> does.
/// </remarks>
public enum ImageLock
{
    /// <summary>No lock, and none is looked at: <c>qemu-img info -U</c>.</summary>
    None,
    /// <summary>Metadata is read; nobody may write meanwhile: <c>qemu-img info</c>.</summary>
    Inspect,
    /// <summary>Data are read; nobody may write meanwhile: <c>qemu-img check</c>, a backing file in use.</summary>
    Read,
    /// <summary>Data are read while others may write: <c>qemu-img check -U</c>.</summary>
    SharedRead,
    /// <summary>The image is written; nobody else may read or write it: <c>qemu-img bitmap</c>, a running VM.</summary>
    Write,
}
