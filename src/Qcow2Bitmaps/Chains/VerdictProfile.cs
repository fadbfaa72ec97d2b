namespace Qcow2Bitmaps;

/// <summary>The rules that decide whether a bitmap is valid over a chain.</summary>
public enum VerdictProfile
{
    /// <summary>libvirt's: the walk goes to the end of the chain; gaps are reported before flags.</summary>
    Libvirt,
    /// <summary>oVirt's: the walk ends at the first image that is not qcow2; flags are checked before gaps.</summary>
    Ovirt,
}
