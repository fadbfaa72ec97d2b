namespace Qcow2Bitmaps.Images.Creation;

/// <summary>What clusters of a new image are for, besides header and reference counts.</summary>
internal enum ClusterUse
{
    L1Table,
    L2Table,
    Data,
}
