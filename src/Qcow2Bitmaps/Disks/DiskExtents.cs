using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Disks;

/// <summary>Lists of extents.</summary>
internal static class DiskExtents
{
    /// <summary>Adds an extent that is not empty, or lengthens the last one by it where it continues that in the file.</summary>
    public static void Append(this List<DiskExtent> extents, DiskExtent extent)
    {
        if (extent.LengthBytes <= 0)
        {
            return;
        }

        if (extents.Count > 0)
        {
            ref DiskExtent last = ref CollectionsMarshal.AsSpan(extents)[^1];
            if (last.Depth == extent.Depth
                && last.Kind == extent.Kind
                && last.IsHole == extent.IsHole
                && last.Kind != ExtentKind.Compressed
                && last.EndBytes == extent.OffsetBytes
                && (last.HostOffset is { } host ? host + last.LengthBytes == extent.HostOffset : extent.HostOffset is null))
            {
                last = last with { LengthBytes = last.LengthBytes + extent.LengthBytes };
                return;
            }
        }

        extents.Add(extent);
    }
}
