namespace Qcow2Bitmaps.Images.Guest.Writing;

/// <summary>What a write does to a cluster of the disk: where its bytes go, and what the L2 table says afterwards.</summary>
/// <param name="GuestOffset">Where the cluster starts on the disk, in bytes.</param>
/// <param name="HostOffset">Where it starts in the file, or in the data file, in bytes.</param>
/// <param name="From">The first byte in the cluster that is to be written: the writer's, or what has to be copied with it.</param>
/// <param name="To">The byte behind the last one that is to be written.</param>
/// <param name="Old">What the table says.</param>
/// <param name="New">What it is to say once the bytes are there.</param>
/// <param name="IsAllocated">Whether the cluster was allocated for this write.</param>
internal readonly record struct ClusterWrite(
    long GuestOffset, long HostOffset, int From, int To, ClusterEntry Old, ClusterEntry New, bool IsAllocated);
