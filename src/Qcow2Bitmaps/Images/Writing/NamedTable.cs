using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>An L2 table that an L1 table refers to.</summary>
/// <param name="Offset">Its offset.</param>
/// <param name="Times">The number of entries that refer to it: one, except in crafted images.</param>
/// <param name="NewOffset">Its new offset.</param>
internal readonly record struct NamedTable(HostOffset Offset, int Times, HostOffset NewOffset);
