using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>A change of header fields that takes effect as a whole: they lie in the first sector.</summary>
/// <remarks>Autoclear bits that are not known here are cleared, as by every writer.</remarks>
internal sealed class HeaderUpdate
{
    private const int SectorBytes = RefcountBlockEdit.SectorBytes;
    private const AutoclearFeatures KnownAutoclear = AutoclearFeatures.Bitmaps | AutoclearFeatures.RawExternalData;

    private readonly byte[] _before;
    private readonly byte[] _after;

    private HeaderUpdate(byte[] firstSector, int version)
    {
        _before = firstSector;
        _after = [.. firstSector];
        if (version >= 3)
        {
            Set(HeaderLayout.AutoclearFeatures, BinaryPrimitives.ReadUInt64BigEndian(_after.AsSpan(HeaderLayout.AutoclearFeatures)) & (ulong)KnownAutoclear);
        }
    }

    /// <summary>Reads the header as it is.</summary>
    public static async ValueTask<HeaderUpdate> ReadAsync(ImageStorage storage, Qcow2Header header, CancellationToken cancellationToken)
    {
        var sector = new byte[SectorBytes];
        await storage.ReadZeroFilledAsync(0, sector, cancellationToken).ConfigureAwait(false);
        return new HeaderUpdate(sector, header.Version);
    }

    public void SetVirtualSize(long bytes) => Set(HeaderLayout.VirtualSize, (ulong)bytes);

    public void SetL1Table(ulong offset, uint entries)
    {
        Set(HeaderLayout.L1TableOffset, offset);
        Set(HeaderLayout.L1Size, entries);
    }

    public void SetRefcountTable(ulong offset, uint clusters)
    {
        Set(HeaderLayout.RefcountTableOffset, offset);
        Set(HeaderLayout.RefcountTableClusters, clusters);
    }

    public void SetSnapshots(ulong offset, uint count)
    {
        Set(HeaderLayout.SnapshotsOffset, offset);
        Set(HeaderLayout.SnapshotCount, count);
    }

    /// <summary>The one write that makes the change count; null when nothing changes.</summary>
    public SectorWrite? Plan()
    {
        int first = _before.AsSpan().CommonPrefixLength(_after);
        if (first == SectorBytes)
        {
            return null;
        }

        int end = SectorBytes;
        while (_before[end - 1] == _after[end - 1])
        {
            end--;
        }

        return new SectorWrite(first, _before.AsMemory(first, end - first), _after.AsMemory(first, end - first));
    }

    private void Set(int field, ulong value) => BinaryPrimitives.WriteUInt64BigEndian(_after.AsSpan(field), value);

    private void Set(int field, uint value) => BinaryPrimitives.WriteUInt32BigEndian(_after.AsSpan(field), value);
}
