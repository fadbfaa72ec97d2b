namespace Qcow2Bitmaps.Operations;

/// <summary>What becomes of a bitmap that is not valid, and that would look valid once images are no longer part of the chain.</summary>
public enum GapPolicy
{
    /// <summary>
    /// What those images have is marked in it, a superset of what was written there; where that cannot be told it is disabled.
    /// </summary>
    Mark,
    /// <summary>It records no longer.</summary>
    Disable,
}
