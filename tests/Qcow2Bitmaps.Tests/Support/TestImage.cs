using System.Buffers.Binary;
using System.Text;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Builds small version 3 images with bitmaps in memory, whole and valid, with all refcounts right, so that tests can break one byte.</summary>
/// <remarks>Clusters: 0 header, 1 refcount table, 2 refcount block, 3.. L1 table, then what the bitmaps need, the directory last.</remarks>
internal sealed class TestImage
{
    private readonly List<byte[]> _clusters = [];
    private readonly List<TestBitmap> _bitmaps = [];
    private readonly int _l1Clusters;

    public TestImage(int clusterBits = 12, long virtualSizeBytes = 1 << 20)
    {
        Header = new Qcow2Header { ClusterBits = (uint)clusterBits, VirtualSize = (ulong)virtualSizeBytes };
        Geometry = Header.Geometry;
        _l1Clusters = Math.Max(1, (int)Geometry.ClustersFor(Geometry.L1EntriesNeeded * ImageGeometry.TableEntryBytes));
        for (int i = 0; i < 3 + _l1Clusters; i++)
        {
            Allocate();
        }
    }

    public Qcow2Header Header { get; private set; }

    public ImageGeometry Geometry { get; }

    /// <summary>Header extensions to put before the bitmaps extension.</summary>
    public List<RawHeaderExtension> Extensions { get; } = [];

    public string? BackingFile { get; init; }

    /// <summary>Where the bitmap directory starts, once <see cref="Build"/> has run.</summary>
    public int DirectoryOffset { get; private set; }

    /// <summary>Where the data of the bitmaps extension start, once <see cref="Build"/> has run.</summary>
    public int BitmapsExtensionOffset { get; private set; }

    /// <summary>The bitmaps in the order they were added; their offsets hold once <see cref="Build"/> has run.</summary>
    public IReadOnlyList<TestBitmap> Bitmaps => _bitmaps;

    public TestImage WithHeader(Func<Qcow2Header, Qcow2Header> change)
    {
        Header = change(Header);
        return this;
    }

    /// <summary>Adds a bitmap.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="granularityBits">Its granularity as a power of two.</param>
    /// <param name="flags">Its flags.</param>
    /// <param name="bits">The bytes of its bits, least significant bit first, zeros behind; pages of zeros are stored as such.</param>
    /// <param name="allOnesPages">Pages to store as "all ones".</param>
    public TestImage WithBitmap(
        string name, int granularityBits = 12, BitmapFlags flags = BitmapFlags.Auto, byte[]? bits = null, params int[] allOnesPages) =>
        WithBitmap(Encoding.UTF8.GetBytes(name), granularityBits, flags, bits, allOnesPages);

    public TestImage WithBitmap(byte[] name, int granularityBits, BitmapFlags flags, byte[]? bits, params int[] allOnesPages)
    {
        int entries = (int)Math.Max(1, Geometry.BitmapTableEntries(granularityBits));
        var table = new ulong[entries];
        for (int page = 0; page < entries; page++)
        {
            int start = page * Geometry.ClusterSizeBytes;
            ReadOnlySpan<byte> pageBits = bits is null || start >= bits.Length
                ? []
                : bits.AsSpan(start, Math.Min(Geometry.ClusterSizeBytes, bits.Length - start));
            if (allOnesPages.Contains(page))
            {
                table[page] = BitmapTableEntry.AllOnes.Raw;
            }
            else if (pageBits.ContainsAnyExcept((byte)0))
            {
                int cluster = Allocate();
                pageBits.CopyTo(_clusters[cluster]);
                table[page] = BitmapTableEntry.AtOffset((ulong)cluster << Geometry.ClusterBits).Raw;
            }
        }

        int firstTableCluster = AllocateRun(entries * ImageGeometry.TableEntryBytes);
        for (int i = 0; i < entries; i++)
        {
            WriteTableEntry(firstTableCluster, i, table[i]);
        }

        _bitmaps.Add(new TestBitmap(name, granularityBits, flags, firstTableCluster << Geometry.ClusterBits, entries));
        return this;
    }

    public byte[] Build()
    {
        byte[] directory = BuildDirectory();
        if (directory.Length > 0)
        {
            int cluster = AllocateRun(directory.Length);
            DirectoryOffset = cluster << Geometry.ClusterBits;
            for (int i = 0; i < directory.Length; i += Geometry.ClusterSizeBytes)
            {
                directory.AsSpan(i, Math.Min(Geometry.ClusterSizeBytes, directory.Length - i)).CopyTo(_clusters[cluster++]);
            }
        }

        WriteFirstCluster(directory.Length);
        BinaryPrimitives.WriteUInt64BigEndian(_clusters[1], 2UL << Geometry.ClusterBits);
        Assert.True(_clusters.Count <= Geometry.RefcountsPerBlock, "The test image needs more clusters than one refcount block covers");
        for (int i = 0; i < _clusters.Count; i++)
        {
            RefcountBlock.Write(_clusters[2], i, Geometry.RefcountOrder, 1);
        }

        return [.. _clusters.SelectMany(static cluster => cluster)];
    }

    public Task<Qcow2Image> OpenAsync(Strictness strictness = Strictness.AsQemu) => OpenAsync(Build(), strictness);

    public static Task<Qcow2Image> OpenAsync(byte[] bytes, Strictness strictness = Strictness.AsQemu) => Qcow2Image.OpenAsync(
        MemoryStorage.ReadOnly(bytes), new Qcow2OpenOptions { Strictness = strictness }, cancellationToken: TestContext.Current.CancellationToken);

    private int Allocate()
    {
        _clusters.Add(new byte[Geometry.ClusterSizeBytes]);
        return _clusters.Count - 1;
    }

    private int AllocateRun(int bytes)
    {
        int first = _clusters.Count;
        for (long i = Math.Max(1, Geometry.ClustersFor(bytes)); i > 0; i--)
        {
            Allocate();
        }

        return first;
    }

    private void WriteTableEntry(int firstCluster, int index, ulong entry)
    {
        int offset = index * ImageGeometry.TableEntryBytes;
        BinaryPrimitives.WriteUInt64BigEndian(
            _clusters[firstCluster + (offset >> Geometry.ClusterBits)].AsSpan(Geometry.OffsetInCluster((ulong)offset)), entry);
    }

    private byte[] BuildDirectory()
    {
        var directory = new List<byte>();
        foreach (TestBitmap bitmap in _bitmaps)
        {
            bitmap.EntryOffsetInDirectory = directory.Count;
            var entry = new BitmapDirectoryEntry
            {
                TableOffset = (ulong)bitmap.TableOffset,
                TableEntries = (uint)bitmap.TableEntries,
                Flags = bitmap.Flags,
                Type = BitmapDirectoryEntry.DirtyTrackingType,
                GranularityBits = (byte)bitmap.GranularityBits,
                Name = bitmap.Name,
            };
            var bytes = new byte[entry.SizeBytes];
            entry.Write(bytes);
            directory.AddRange(bytes);
        }

        return [.. directory];
    }

    private void WriteFirstCluster(int directoryBytes)
    {
        byte[] cluster = _clusters[0];
        Header = Header with
        {
            RefcountTableOffset = 1UL << Geometry.ClusterBits,
            RefcountTableClusters = 1,
            L1TableOffset = 3UL << Geometry.ClusterBits,
            L1Size = (uint)Geometry.L1EntriesNeeded,
            AutoclearFeatures = Header.AutoclearFeatures | (directoryBytes > 0 ? AutoclearFeatures.Bitmaps : AutoclearFeatures.None),
            TrailingBytes = new byte[7],
        };
        var writer = new HeaderExtensionWriter(cluster.AsSpan((int)Header.HeaderLength));
        foreach (RawHeaderExtension extension in Extensions)
        {
            Assert.True(writer.TryWrite(extension.Type, extension.Data.Span));
        }

        if (directoryBytes > 0)
        {
            var data = new byte[BitmapsExtension.SizeBytes];
            new BitmapsExtension((uint)_bitmaps.Count, 0, (ulong)directoryBytes, (ulong)DirectoryOffset).Write(data);
            BitmapsExtensionOffset = (int)Header.HeaderLength + writer.BytesWritten + HeaderExtension.HeaderBytes;
            Assert.True(writer.TryWrite(HeaderExtensionType.Bitmaps, data));
        }

        Assert.True(writer.TryWriteEnd());
        if (BackingFile is not null)
        {
            byte[] name = Encoding.UTF8.GetBytes(BackingFile);
            int offset = (int)Header.HeaderLength + writer.BytesWritten;
            name.CopyTo(cluster, offset);
            Header = Header with { BackingFileOffset = (ulong)offset, BackingFileSize = (uint)name.Length };
        }

        Header.Write(cluster);
    }
}
