using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Guest.Writing;

/// <summary>A cluster's complete L2 entry.</summary>
/// <param name="Entry">The entry.</param>
/// <param name="Subclusters">Its second half where entries are extended; else zero.</param>
internal readonly record struct ClusterEntry(L2Entry Entry, SubclusterBitmap Subclusters);
