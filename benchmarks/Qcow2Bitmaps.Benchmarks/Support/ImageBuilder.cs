using System.Buffers.Binary;
using System.Text;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Benchmarks.Support;

/// <summary>Builds an empty disk with bitmaps in memory: an image with clusters of 64 KiB and all refcounts right.</summary>
/// <remarks>Clusters: 0 header, 1 refcount table, 2 refcount block, 3.. L1 table, then the bitmaps, the directory last.</remarks>
internal sealed class ImageBuilder
{
    public const int ClusterBytes = 1 << ClusterBits;

    private const int ClusterBits = 16;
    private const int FirstL1Cluster = 3;

    // As long as the table that QEMU writes into each image.
    private const int FeatureNamesBytes = 8 * FeatureName.EntryBytes;

    /// <summary>Bytes of the header with its extensions: of the names of features and of the bitmaps, and the end marker.</summary>
    public const int HeaderAndExtensionsBytes = HeaderLayout.KnownLength
        + HeaderExtension.HeaderBytes + FeatureNamesBytes
        + HeaderExtension.HeaderBytes + BitmapsExtension.SizeBytes
        + HeaderExtension.HeaderBytes;

    private readonly List<(ulong Offset, byte[] Bytes)> _writes = [];
    private readonly List<byte> _directory = [];
    private readonly ImageGeometry _geometry;
    private int _clusters = FirstL1Cluster;
    private uint _bitmapCount;
    private ulong _emptyTable;

    public ImageBuilder(long virtualSizeBytes)
    {
        _geometry = new ImageGeometry(ClusterBits, virtualSizeBytes, refcountOrder: 4, hasExtendedL2: false);
        Allocate(_geometry.L1EntriesNeeded * ImageGeometry.TableEntryBytes);
    }

    /// <summary>Adds a bitmap with its bits.</summary>
    public ImageBuilder Add(string name, GeneratedPages bits)
    {
        var geometry = BitmapGeometry.Of(bits);
        var table = new byte[geometry.PageCount * ImageGeometry.TableEntryBytes];
        var words = new ulong[geometry.WordsIn(0)];
        for (int page = 0; page < geometry.PageCount; page++)
        {
            ulong entry = 0;
            if (bits.KindOf(page) == BitmapPageKind.AllDirty)
            {
                entry = BitmapTableEntry.AllOnes.Raw;
            }
            else if (bits.KindOf(page) == BitmapPageKind.Bits)
            {
                int count = geometry.WordsIn(page);
                bits.ReadPage(page, words.AsSpan(0, count));
                entry = Allocate(ClusterBytes);
                _writes.Add((entry, LittleEndianWords.BytesOf(words.AsSpan(0, count)).ToArray()));
            }

            BinaryPrimitives.WriteUInt64BigEndian(table.AsSpan(page * ImageGeometry.TableEntryBytes), entry);
        }

        ulong offset = Allocate(table.Length);
        _writes.Add((offset, table));
        AddEntry(name, bits.GranularityBits, offset);
        return this;
    }

    /// <summary>Adds clean bitmaps. They share one table, which opening an image never reads: own ones would take 64 KiB each.</summary>
    public ImageBuilder AddClean(IEnumerable<string> names, int granularityBits)
    {
        if (_emptyTable == 0)
        {
            _emptyTable = Allocate(_geometry.BitmapTableEntries(granularityBits) * ImageGeometry.TableEntryBytes);
        }

        foreach (string name in names)
        {
            AddEntry(name, granularityBits, _emptyTable);
        }

        return this;
    }

    /// <summary>Writes the metadata.</summary>
    /// <returns>The image's bytes.</returns>
    public byte[] Build()
    {
        ulong directory = Allocate(_directory.Count);
        _writes.Add((directory, _directory.ToArray()));
        var image = new byte[(long)_clusters << ClusterBits];
        foreach ((ulong offset, byte[] bytes) in _writes)
        {
            bytes.CopyTo(image, (long)offset);
        }

        BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan(1 << ClusterBits), 2UL << ClusterBits);
        if (_clusters > _geometry.RefcountsPerBlock)
        {
            throw new InvalidOperationException("The image needs more clusters than one refcount block covers");
        }

        for (int cluster = 0; cluster < _clusters; cluster++)
        {
            RefcountBlock.Write(image.AsSpan(2 << ClusterBits, ClusterBytes), cluster, _geometry.RefcountOrder, 1);
        }

        WriteHeader(image.AsSpan(0, ClusterBytes), directory);
        return image;
    }

    private ulong Allocate(long bytes)
    {
        ulong offset = (ulong)_clusters << ClusterBits;
        _clusters += (int)_geometry.ClustersFor(bytes);
        return offset;
    }

    private void AddEntry(string name, int granularityBits, ulong tableOffset)
    {
        var entry = new BitmapDirectoryEntry
        {
            TableOffset = tableOffset,
            TableEntries = (uint)_geometry.BitmapTableEntries(granularityBits),
            Flags = BitmapFlags.Auto,
            Type = BitmapDirectoryEntry.DirtyTrackingType,
            GranularityBits = (byte)granularityBits,
            Name = Encoding.UTF8.GetBytes(name),
        };
        var bytes = new byte[entry.SizeBytes];
        entry.Write(bytes);
        _directory.AddRange(bytes);
        _bitmapCount++;
    }

    private void WriteHeader(Span<byte> cluster, ulong directory)
    {
        var header = new Qcow2Header
        {
            ClusterBits = ClusterBits,
            VirtualSize = (ulong)_geometry.VirtualSizeBytes,
            RefcountTableOffset = 1UL << ClusterBits,
            RefcountTableClusters = 1,
            L1TableOffset = (ulong)FirstL1Cluster << ClusterBits,
            L1Size = (uint)_geometry.L1EntriesNeeded,
            AutoclearFeatures = AutoclearFeatures.Bitmaps,
        };
        int headerBytes = header.Write(cluster);
        var writer = new HeaderExtensionWriter(cluster[headerBytes..]);
        var bitmaps = new byte[BitmapsExtension.SizeBytes];
        new BitmapsExtension(_bitmapCount, 0, (ulong)_directory.Count, directory).Write(bitmaps);
        bool fits = writer.TryWrite(HeaderExtensionType.FeatureNames, new byte[FeatureNamesBytes])
            && writer.TryWrite(HeaderExtensionType.Bitmaps, bitmaps)
            && writer.TryWriteEnd();
        if (!fits || headerBytes + writer.BytesWritten != HeaderAndExtensionsBytes)
        {
            throw new InvalidOperationException("The header and its extensions are not of the size that is stated");
        }
    }
}
