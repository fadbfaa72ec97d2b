namespace Qcow2Bitmaps;

/// <summary>The flags of a bitmap directory entry. Spec: "Bitmap directory", flags.</summary>
[Flags]
public enum BitmapFlags : uint
{
    /// <summary>No flag is set: consistent, and not recording.</summary>
    None = 0,
    /// <summary>The bitmap was not saved correctly: inconsistent, unless a process has the image open.</summary>
    InUse = 1 << 0,
    /// <summary>The bitmap records writes: QEMU calls it enabled, libvirt recording.</summary>
    Auto = 1 << 1,
    /// <summary>Extra data may be ignored. QEMU refuses it.</summary>
    ExtraDataCompatible = 1 << 2,
}
