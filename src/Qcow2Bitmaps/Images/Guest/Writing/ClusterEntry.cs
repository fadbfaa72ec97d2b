using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Guest.Writing;

/// <summary>All that the L2 table says of a cluster.</summary>
/// <param name="Entry">The entry.</param>
/// <param name="Subclusters">Its second half where entries are extended; else zero.</param>
internal readonly record struct ClusterEntry(L2Entry Entry, SubclusterBitmap Subclusters);
