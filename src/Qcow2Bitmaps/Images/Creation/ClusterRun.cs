namespace Qcow2Bitmaps.Images.Creation;

/// <summary>Contiguous clusters of a new image.</summary>
/// <param name="Use">What they are for.</param>
/// <param name="First">The first cluster's number in the file.</param>
/// <param name="Count">How many there are.</param>
/// <param name="FirstGuestCluster">The first cluster of the disk that they hold, or that an L2 table describes.</param>
internal readonly record struct ClusterRun(ClusterUse Use, long First, long Count, long FirstGuestCluster);
