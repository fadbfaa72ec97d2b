using System.Buffers.Binary;
using System.Text;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>
/// Builds small version 3 images with bitmaps in memory, whole and valid, with all refcounts right, so that tests can break one byte.
/// </summary>
/// <remarks>
/// Clusters: 0 header, 1 refcount table, 2 refcount block, 3.. L1 table, then what is added, in order, the directory, and last the
/// other refcount blocks where one is not enough.
/// </remarks>
internal sealed class TestImage
{
    private readonly List<byte[]> _clusters = [];
    private readonly List<TestBitmap> _bitmaps = [];
    private readonly HashSet<int> _free = [];
    private readonly int _l1Clusters;
    private int _guestClusters;

    public TestImage(int clusterBits = 12, long virtualSizeBytes = 1 << 20, int refcountOrder = 4)
    {
        Header = new Qcow2Header
        {
            ClusterBits = (uint)clusterBits,
            VirtualSize = (ulong)virtualSizeBytes,
            RefcountOrder = (uint)refcountOrder,
        };
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

    /// <summary>Header extensions to put behind the bitmaps extension.</summary>
    public List<RawHeaderExtension> ExtensionsBehind { get; } = [];

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

    /// <summary>Fills clusters of the disk, behind those filled before, each with a byte of its own.</summary>
    public TestImage WithGuestData(int clusters)
    {
        for (int i = 0; i < clusters; i++)
        {
            int perTable = Geometry.L2EntriesPerTable;
            Span<byte> l1Entry = TableEntry(3, _guestClusters / perTable);
            if (_guestClusters % perTable == 0)
            {
                BinaryPrimitives.WriteUInt64BigEndian(
                    l1Entry, L1Entry.Create((ulong)Allocate() << Geometry.ClusterBits, isCopied: true).Raw);
            }

            int cluster = Allocate();
            _clusters[cluster].AsSpan().Fill((byte)(1 + (_guestClusters % 255)));
            int l2 = (int)(new L1Entry(BinaryPrimitives.ReadUInt64BigEndian(l1Entry)).L2TableOffset >> Geometry.ClusterBits);
            BinaryPrimitives.WriteUInt64BigEndian(
                TableEntry(l2, _guestClusters % perTable), L2Entry.Create((ulong)cluster << Geometry.ClusterBits, isCopied: true).Raw);
            _guestClusters++;
        }

        return this;
    }

    /// <summary>Leaves clusters that are not in use, with what somebody has left there.</summary>
    public TestImage WithFreeClusters(int clusters)
    {
        for (int i = 0; i < clusters; i++)
        {
            int cluster = Allocate();
            _clusters[cluster].AsSpan().Fill(0xA5);
            _free.Add(cluster);
        }

        return this;
    }

    /// <summary>Builds the image; then the test image can be asked where things are.</summary>
    /// <param name="freeRefcounts">How many clusters more the refcount blocks shall count, at most; guest data are added until it is
    /// so. Null for as many as it happens.</param>
    /// <param name="fillsRefcountTable">Whether guest data are added until the refcount table has no entry left, too.</param>
    public byte[] Build(int? freeRefcounts = null, bool fillsRefcountTable = false)
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
        while ((freeRefcounts is { } free && BlocksNeeded() * Geometry.RefcountsPerBlock - (_clusters.Count + BlocksNeeded() - 1) > free)
            || (fillsRefcountTable && BlocksNeeded() < Geometry.ClusterSizeBytes / ImageGeometry.TableEntryBytes))
        {
            WithGuestData(1);
        }

        WriteRefcounts();
        return [.. _clusters.SelectMany(static cluster => cluster)];
    }

    public Task<Qcow2Image> OpenAsync(Strictness strictness = Strictness.AsQemu) => OpenAsync(Build(), strictness);

    public static Task<Qcow2Image> OpenAsync(byte[] bytes, Strictness strictness = Strictness.AsQemu) => Qcow2Image.OpenAsync(
        MemoryStorage.ReadOnly(bytes), new Qcow2OpenOptions { Strictness = strictness },
        cancellationToken: TestContext.Current.CancellationToken);

    private int BlocksNeeded()
    {
        int blocks = 1;
        while (blocks * Geometry.RefcountsPerBlock < _clusters.Count + blocks - 1)
        {
            blocks++;
        }

        return blocks;
    }

    private void WriteRefcounts()
    {
        int blocks = BlocksNeeded();
        Assert.True(
            blocks <= Geometry.ClusterSizeBytes / ImageGeometry.TableEntryBytes,
            "The test image needs more refcount blocks than one cluster of a table names");
        var clusters = new int[blocks];
        for (int i = 0; i < blocks; i++)
        {
            clusters[i] = i == 0 ? 2 : Allocate();
            WriteTableEntry(1, i, (ulong)clusters[i] << Geometry.ClusterBits);
        }

        for (int i = 0; i < _clusters.Count; i++)
        {
            RefcountBlock.Write(
                _clusters[clusters[i / Geometry.RefcountsPerBlock]], i % Geometry.RefcountsPerBlock, Geometry.RefcountOrder,
                _free.Contains(i) ? 0UL : 1);
        }
    }

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

    private void WriteTableEntry(int firstCluster, int index, ulong entry) =>
        BinaryPrimitives.WriteUInt64BigEndian(TableEntry(firstCluster, index), entry);

    private Span<byte> TableEntry(int firstCluster, int index)
    {
        int offset = index * ImageGeometry.TableEntryBytes;
        return _clusters[firstCluster + (offset >> Geometry.ClusterBits)].AsSpan(
            Geometry.OffsetInCluster((ulong)offset), ImageGeometry.TableEntryBytes);
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
            TrailingBytes = Header.TrailingBytes.IsEmpty && Header.HeaderLength >= Qcow2Header.MaxKnownBytes
                ? new byte[7]
                : Header.TrailingBytes,
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

        foreach (RawHeaderExtension extension in ExtensionsBehind)
        {
            Assert.True(writer.TryWrite(extension.Type, extension.Data.Span));
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
