using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>A change of what the first cluster says that takes effect as a whole: the header's fields lie in the first sector.</summary>
/// <remarks>Autoclear bits that are not known here are cleared, as by every writer.</remarks>
internal sealed class HeaderUpdate
{

    private readonly string _imageName;
    private readonly Qcow2Header _header;
    private readonly byte[] _before;
    private readonly Dictionary<int, byte[]> _fields = [];
    private BitmapsExtension? _bitmaps;

    private HeaderUpdate(string imageName, Qcow2Header header, byte[] firstCluster)
    {
        _imageName = imageName;
        _header = header;
        _before = firstCluster;
        if (header.Version >= 3)
        {
            Set(HeaderLayout.AutoclearFeatures, BinaryPrimitives.ReadUInt64BigEndian(_before.AsSpan(HeaderLayout.AutoclearFeatures)) & (ulong)HeaderSwitch.KnownAutoclear);
        }
    }

    /// <summary>Reads the first cluster as it is.</summary>
    public static async ValueTask<HeaderUpdate> ReadAsync(ImageStorage storage, Qcow2Header header, CancellationToken cancellationToken)
    {
        var cluster = new byte[1 << (int)header.ClusterBits];
        await storage.ReadZeroFilledAsync(0, cluster, cancellationToken).ConfigureAwait(false);
        return new HeaderUpdate(storage.Name, header, cluster);
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

    /// <summary>Has the bitmaps extension, which there is, say something else.</summary>
    public void SetBitmaps(BitmapsExtension extension) => _bitmaps = extension;

    /// <summary>Plans the writes: stages, each with a flush after it, of which one is a single sector and makes the change count.</summary>
    /// <exception cref="Qcow2UnsupportedException">The first cluster has no room for what the switch needs.</exception>
    public IReadOnlyList<IReadOnlyList<SectorWrite>> Plan()
    {
        IReadOnlyList<byte[]> states = _bitmaps is { } extension
            ? ExtensionMove.Plan(_imageName, _header, _before, extension)
            : [_before, [.. _before]];
        var stages = new List<IReadOnlyList<SectorWrite>>();
        byte[] now = _before;
        for (int i = 0; i < states.Count; i++)
        {
            if (i > 0)
            {
                // From the switch on.
                foreach ((int field, byte[] value) in _fields)
                {
                    value.CopyTo(states[i], field);
                }
            }

            List<SectorWrite> writes = HeaderSwitch.Difference(now, states[i]);
            if (writes.Count > 0)
            {
                stages.Add(writes);
            }

            now = states[i];
        }

        return stages;
    }

    private void Set(int field, ulong value)
    {
        var bytes = new byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, value);
        _fields[field] = bytes;
    }

    private void Set(int field, uint value)
    {
        var bytes = new byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        _fields[field] = bytes;
    }
}
