namespace Qcow2Bitmaps.Images.Creation;

/// <summary>What of a new image is allocated from the start.</summary>
public enum Preallocation
{
    /// <summary>Nothing: clusters are allocated when they are written.</summary>
    Off = 0,
    /// <summary>All tables, and a place for every cluster; no guest data are written.</summary>
    Metadata = 1,
}
