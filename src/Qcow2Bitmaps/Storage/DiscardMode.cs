namespace Qcow2Bitmaps.Storage;

/// <summary>What becomes of the space of clusters that an image no longer uses; QEMU's <c>discard</c> option has the same values.</summary>
public enum DiscardMode
{
    /// <summary>It is returned to the file system or the device.</summary>
    Unmap,
    /// <summary>The file or device keeps it for the image's next clusters, which is faster. qemu-img does so.</summary>
    Ignore,
}
