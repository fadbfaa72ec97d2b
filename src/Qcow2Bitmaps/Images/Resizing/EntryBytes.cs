using System.Buffers.Binary;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Resizing;

/// <summary>Writes L2 entries, extended or not.</summary>
internal static class EntryBytes
{
    /// <summary>Makes an entry one of a cluster that reads as zeros and has no space.</summary>
    public static void WriteZero(Span<byte> entry, ImageGeometry geometry)
    {
        BinaryPrimitives.WriteUInt64BigEndian(entry, geometry.HasExtendedL2 ? 0 : L2Entry.Create(0, isCopied: false, isZero: true).Raw);
        if (geometry.HasExtendedL2)
        {
            BinaryPrimitives.WriteUInt64BigEndian(entry[sizeof(ulong)..], new SubclusterBitmap(0, uint.MaxValue).Raw);
        }
    }

    /// <summary>Writes an entry for a cluster with no other reference.</summary>
    public static void WriteData(Span<byte> entry, ImageGeometry geometry, long hostOffset, SubclusterBitmap subclusters)
    {
        BinaryPrimitives.WriteUInt64BigEndian(entry, L2Entry.Create((ulong)hostOffset, isCopied: true).Raw);
        WriteSubclusters(entry, geometry, subclusters);
    }

    /// <summary>Writes the subcluster bits of an extended entry.</summary>
    public static void WriteSubclusters(Span<byte> entry, ImageGeometry geometry, SubclusterBitmap subclusters)
    {
        if (geometry.HasExtendedL2)
        {
            BinaryPrimitives.WriteUInt64BigEndian(entry[sizeof(ulong)..], subclusters.Raw);
        }
    }
}
