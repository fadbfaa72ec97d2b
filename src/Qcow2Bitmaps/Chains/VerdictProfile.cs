namespace Qcow2Bitmaps;

/// <summary>Whose rules say whether a bitmap is valid over a chain.</summary>
public enum VerdictProfile
{
    /// <summary>libvirt's: the walk goes to the very end of the chain, a gap is told before flags are looked at.</summary>
    Libvirt,
    /// <summary>oVirt's: the walk ends at the first image that is not qcow2, flags are looked at before gaps.</summary>
    Ovirt,
}
