using System.Buffers.Binary;
using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Header;

/// <summary>Any change of any first cluster: whatever of a stage is written, the cluster reads as before or as after.</summary>
public sealed class SwitchPlannerTests
{
    private const uint Unknown = 0x11110000;
    // An offset, and no bytes there.
    private const int EmptyName = -1;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private static Gen<byte[]> Clusters =>
        from bits in Gen.Elements(9, 10, 11, 12)
        from isVersion2 in Gen.Frequency((1, Gen.Constant(true)), (4, Gen.Constant(false)))
        from longer in Gen.Frequency((20, Gen.Choose(0, 1)), (1, Gen.Choose(2, 45)))
        from extensions in Extensions.ListOf()
        from isPublished in Gen.Frequency((3, Gen.Constant(true)), (1, Gen.Constant(false)))
        from hasUnknownBit in Gen.Frequency((1, Gen.Constant(true)), (5, Gen.Constant(false)))
        from name in Gen.Frequency(
            (2, Gen.Constant(0)), (1, Gen.Constant(EmptyName)), (2, Gen.Choose(1, 30)), (2, Gen.Choose(30, 500)))
        from gap in Gen.Frequency((2, Gen.Constant(0)), (1, Gen.Choose(1, 20)))
        select Build(bits, isVersion2, longer, [.. extensions.Take(6)], isPublished, hasUnknownBit, name, gap * 8);

    private static Gen<(HeaderExtensionType Type, int Length)> Extensions => Gen.OneOf(
        Gen.Constant((HeaderExtensionType.Bitmaps, BitmapsExtension.SizeBytes)),
        Gen.Constant((ExtensionArea.Filler, BitmapsExtension.SizeBytes)),
        from length in Gen.Choose(1, 15) select (HeaderExtensionType.BackingFormat, length),
        from names in Gen.Choose(1, 8) select (HeaderExtensionType.FeatureNames, names * FeatureName.EntryBytes),
        from type in Gen.Choose(0, 8) from length in Gen.Choose(0, 90) select ((HeaderExtensionType)(Unknown + (uint)type), length));

    private static Gen<HeaderChange> Changes => Gen.Elements<Func<HeaderChange>>(
        static () => new HeaderChange(),
        static () => new HeaderChange().SetVirtualSize(1 << 22),
        static () => new HeaderChange().SetBitmaps(new BitmapsExtension(3, 0, 96, 0x70000)),
        static () => new HeaderChange().SetVirtualSize(1 << 22).SetBitmaps(new BitmapsExtension(3, 0, 96, 0x70000)),
        static () => new HeaderChange().SetBitmaps(null),
        static () => new HeaderChange().SetBackingFile("new"u8.ToArray(), "qcow2"u8.ToArray()),
        static () => new HeaderChange().SetBackingFile(Encoding.ASCII.GetBytes(new string('n', 120)), "snapshot-access"u8.ToArray()),
        static () => new HeaderChange().SetBackingFile(null, "raw"u8.ToArray())).Select(static make => make());

    [Fact]
    public void EachStateReadsAsBeforeOrAsAfter()
    {
        Gen<(byte[] Cluster, HeaderChange Change)> cases = from cluster in Clusters from change in Changes select (cluster, change);
        Properties.ForAll(cases, 5000, static c => CheckAsync(c.Cluster, c.Change).GetAwaiter().GetResult());
    }

    /// <summary>The extensions end where an empty name starts: it takes no room, and makes some.</summary>
    [Theory]
    [InlineData(0, false, 0)]
    [InlineData(0, false, 8)]
    [InlineData(376, false, 0)]
    [InlineData(0, true, 0)]
    [InlineData(0, true, 8)]
    [InlineData(376, true, 0)]
    [InlineData(376, true, 8)]
    public async Task AnEmptyNameOfABackingFileIsNoLackOfRoom(int unknownBytes, bool hasBitmaps, int gap)
    {
        var extensions = new List<(HeaderExtensionType, int)>();
        if (unknownBytes > 0)
        {
            extensions.Add(((HeaderExtensionType)Unknown, unknownBytes));
        }

        if (hasBitmaps)
        {
            extensions.Add((HeaderExtensionType.Bitmaps, BitmapsExtension.SizeBytes));
        }

        byte[] cluster = Build(12, false, 0, [.. extensions], hasBitmaps, false, EmptyName, gap);
        var target = new BitmapsExtension(3, 0, 96, 0x70000);
        HeaderChange[] changes =
        [
            new HeaderChange().SetBitmaps(target),
            new HeaderChange().SetBackingFile("new"u8.ToArray(), "qcow2"u8.ToArray()),
            new HeaderChange().SetBackingFile(null, "raw"u8.ToArray()),
        ];
        foreach (HeaderChange change in changes)
        {
            await CheckAsync(cluster, change);
            SwitchPlan plan = await change.PlanAsync(new MemoryStorage(cluster), (await ReadAsync(cluster)).Header, Token);
            FirstCluster after = await ReadAsync(plan.After(cluster));
            Assert.Equal(change.ChangesBitmaps ? target : (await ReadAsync(cluster)).Bitmaps, after.Bitmaps);
            Assert.Equal(change.BackingFile is null ? null : "new", after.BackingFile);
        }
    }

    private static async Task CheckAsync(byte[] cluster, HeaderChange change)
    {
        var storage = new MemoryStorage(cluster);
        FirstCluster first = await ReadAsync(cluster);
        SwitchPlan plan;
        try
        {
            plan = await change.PlanAsync(storage, first.Header, Token);
        }
        catch (Qcow2UnsupportedException e) when (e.Reason == UnsupportedReason.NoRoomInHeader)
        {
            return;
        }

        string before = Seen(first);
        byte[] final = plan.After(cluster);
        string after = Seen(await ReadAsync(final));
        byte[] now = [.. cluster];
        foreach (IReadOnlyList<SectorWrite> stage in plan.Stages)
        {
            // Any of the writes may be there; of many only some are tried.
            for (int written = 0; written < 1 << Math.Min(stage.Count, 4); written++)
            {
                byte[] state = [.. now];
                for (int i = 0; i < stage.Count; i++)
                {
                    if ((written >> (i & 3) & 1) != 0)
                    {
                        stage[i].After.CopyTo(state.AsMemory(stage[i].Offset));
                    }
                }

                string seen = Seen(await ReadAsync(state));
                Assert.True(seen == before || seen == after, $"before: {before}\nafter:  {after}\nseen:   {seen}");
            }

            foreach (SectorWrite write in stage)
            {
                Assert.Equal(write.Offset / SectorWrite.SectorBytes, (write.Offset + write.After.Length - 1) / SectorWrite.SectorBytes);
                write.After.CopyTo(now.AsMemory(write.Offset));
            }
        }

        Assert.Equal(final, now);
        if (change.BackingFormat is null)
        {
            Qcow2Header header = (await ReadAsync(final)).Header;
            Assert.True((await change.PlanAsync(new MemoryStorage(final), header, Token)).IsEmpty);
        }
    }

    private static async Task<FirstCluster> ReadAsync(byte[] cluster) => await FirstCluster.ReadAsync(
        MemoryStorage.ReadOnly(cluster), Qcow2Limits.Default, new FaultLog(Strictness.Lenient, "test"), Token);

    private static string Seen(FirstCluster first)
    {
        Qcow2Header header = first.Header;
        bool hasBitmaps = header.AutoclearFeatures.HasFlag(AutoclearFeatures.Bitmaps);
        IEnumerable<string> others = first.Extensions
            .Where(static extension => extension.Type
                is not (HeaderExtensionType.Bitmaps or HeaderExtensionType.BackingFormat or ExtensionArea.Filler))
            .Select(static extension => $"{extension.Type}:{Convert.ToHexString(extension.Data.Span)}");
        string bitmaps = !hasBitmaps ? "no bitmaps" : first.Bitmaps is { } extension ? $"{extension}" : "bitmaps missing";
        string? format = first.BackingFile is null ? null : first.BackingFormat;
        return $"{header.VirtualSize} '{first.BackingFile}' '{format}' {bitmaps} {string.Join(' ', others)}";
    }

    private static byte[] Build(
        int bits,
        bool isVersion2,
        int longer,
        (HeaderExtensionType Type, int Length)[] extensions,
        bool isPublished,
        bool hasUnknownBit,
        int nameBytes,
        int gap)
    {
        var cluster = new byte[1 << bits];
        int length = isVersion2 ? HeaderLayout.Version2Length : HeaderLayout.MinVersion3Length + (longer * 8);
        BinaryPrimitives.WriteUInt32BigEndian(cluster, Qcow2Header.MagicNumber);
        BinaryPrimitives.WriteInt32BigEndian(cluster.AsSpan(HeaderLayout.Version), isVersion2 ? 2 : 3);
        BinaryPrimitives.WriteInt32BigEndian(cluster.AsSpan(HeaderLayout.ClusterBits), bits);
        BinaryPrimitives.WriteInt64BigEndian(cluster.AsSpan(HeaderLayout.VirtualSize), 1 << 20);
        int at = length;
        bool hasBitmaps = false;
        foreach ((HeaderExtensionType type, int bytes) in extensions
            .Where(extension => !isVersion2 || extension.Type != HeaderExtensionType.Bitmaps))
        {
            if (at + HeaderExtension.SizeBytes(bytes) + HeaderExtension.HeaderBytes > cluster.Length)
            {
                break;
            }

            BinaryPrimitives.WriteUInt32BigEndian(cluster.AsSpan(at), (uint)type);
            BinaryPrimitives.WriteInt32BigEndian(cluster.AsSpan(at + sizeof(uint)), bytes);
            cluster.AsSpan(at + HeaderExtension.HeaderBytes, bytes).Fill((byte)('a' + (at % 26)));
            if (type == HeaderExtensionType.Bitmaps)
            {
                new BitmapsExtension(1, 0, 32, 0x50000).Write(cluster.AsSpan(at + HeaderExtension.HeaderBytes));
                hasBitmaps = true;
            }

            at += HeaderExtension.SizeBytes(bytes);
        }

        at += HeaderExtension.HeaderBytes;
        if (!isVersion2)
        {
            ulong autoclear = (hasBitmaps && isPublished ? (ulong)AutoclearFeatures.Bitmaps : 0) | (hasUnknownBit ? 1UL << 40 : 0);
            BinaryPrimitives.WriteUInt64BigEndian(cluster.AsSpan(HeaderLayout.AutoclearFeatures), autoclear);
            BinaryPrimitives.WriteInt32BigEndian(cluster.AsSpan(HeaderLayout.RefcountOrder), 4);
            BinaryPrimitives.WriteInt32BigEndian(cluster.AsSpan(HeaderLayout.HeaderLength), length);
        }

        if (nameBytes == EmptyName && at + gap <= cluster.Length)
        {
            // Without a gap there is no end marker.
            int offset = gap == 0 ? at - HeaderExtension.HeaderBytes : at + gap;
            cluster.AsSpan(offset).Fill((byte)'x');
            BinaryPrimitives.WriteInt64BigEndian(cluster.AsSpan(HeaderLayout.BackingFileOffset), offset);
        }

        if (nameBytes > 0 && at + gap + nameBytes <= cluster.Length)
        {
            cluster.AsSpan(at + gap, nameBytes).Fill((byte)'b');
            BinaryPrimitives.WriteInt64BigEndian(cluster.AsSpan(HeaderLayout.BackingFileOffset), at + gap);
            BinaryPrimitives.WriteInt32BigEndian(cluster.AsSpan(HeaderLayout.BackingFileSize), nameBytes);
        }

        return cluster;
    }
}
