using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>An L2 table that an L1 table names.</summary>
/// <param name="Offset">Where it stands.</param>
/// <param name="Times">How many entries name it: one, unless somebody has made the image so.</param>
/// <param name="NewOffset">Where it is to stand.</param>
internal readonly record struct NamedTable(HostOffset Offset, int Times, HostOffset NewOffset);
