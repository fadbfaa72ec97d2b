namespace Qcow2Bitmaps.Images.Guest.Writing;

/// <summary>How a write changes a cluster of the disk: where its bytes go, and its L2 entry afterwards.</summary>
/// <param name="GuestOffset">Where the cluster starts on the disk, in bytes.</param>
/// <param name="HostOffset">Where it starts in the file, or in the data file, in bytes.</param>
/// <param name="From">The first byte in the cluster to write: the caller's data, or data that must be copied with it.</param>
/// <param name="To">The byte after the last one to write.</param>
/// <param name="Old">The current L2 entry.</param>
/// <param name="New">The L2 entry once the bytes are written.</param>
/// <param name="IsAllocated">Whether the cluster was allocated for this write.</param>
internal readonly record struct ClusterWrite(
    long GuestOffset, long HostOffset, int From, int To, ClusterEntry Old, ClusterEntry New, bool IsAllocated);
