using System.Buffers.Binary;
using System.Diagnostics;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Checking;

/// <summary>
/// <c>check</c> finds what qemu-img check finds, and says it in the same words: on fixtures and on images with tables broken at random.
/// </summary>
public sealed class CheckTests
{
    // QEMU wants a key, a data file or a backing file for these, and we do not.
    private static readonly string[] s_needsMore =
        [
            "images/luks.qcow2", "images/aes.qcow2", "images/data-file.qcow2", "images/data-file-raw.qcow2", "images/missing-backing.qcow2",
            "chains/missing-base-2/top.qcow2",
        ];

    private static readonly string[] s_bases =
        [
            "cluster-4k", "snapshots", "compression-zlib", "extended-l2", "refcount-1", "refcount-8", "refcount-64", "v2-snapshot",
            "cluster-512", "preallocated", "all-dirty",
        ];

    public static TheoryData<Fixture> Fixtures =>
        [.. FixtureIndex.Images.Concat(FixtureIndex.Chains.SelectMany(static c => c.Layers)).Where(static f => f.Format == "qcow2")];

    public static TheoryData<string, int> Mutations =>
        [.. s_bases.SelectMany(static b => Enumerable.Range(0, 30).Select(seed => (b, seed)))];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Fixtures))]
    public async Task FixturesAreCleanButForThoseThatAreNot(Fixture fixture)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(fixture.Path, cancellationToken: Token);

        CheckReport report = await image.CheckAsync(Token);

        (long corruptions, long leaks) expected = fixture.RelativePath switch
        {
            "images/lazy-refcounts-dirty.qcow2" => (2, 0),
            "images/autoclear-off.qcow2" or "images/v2-bitmaps-extension.qcow2" => (0, 5),
            _ => (0, 0),
        };
        Assert.Equal(expected, (report.Corruptions, report.Leaks));
        Assert.Equal(0, report.CheckErrors);
        Assert.Equal(expected.corruptions + expected.leaks, report.Findings.Count);
    }

    [Theory]
    [MemberData(nameof(Fixtures))]
    public async Task EqualsQemuImg(Fixture fixture)
    {
        Qemu.Require();
        if (s_needsMore.Contains(fixture.RelativePath))
        {
            Assert.NotEqual(0, (await Qemu.ImgAsync("check", fixture.Path)).ExitCode);
            return;
        }

        foreach (string form in new[] { "human", "json" })
        {
            await AssertSameAsync(fixture.Path, form);
        }
    }

    [Theory]
    [MemberData(nameof(Mutations))]
    public async Task BrokenTablesAreFoundAsQemuImgFindsThem(string name, int seed)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        byte[] image = await File.ReadAllBytesAsync(Path.Combine(FixtureFiles.Root, "images", name + ".qcow2"), Token);
        var mutation = new TableMutation(image, seed);
        string path = folder.Write("a.qcow2", mutation.Apply());

        await AssertSameAsync(path, "human");
    }

    [Fact]
    public async Task TablesThatOverlapCostNoTime()
    {
        // Forty bitmaps in use, each with the same table of 8 MiB: 320 MiB to read for a file of 9; a full
        // directory would be 65535 of them.
        var image = new TestImage(9, 1 << 16);
        for (int i = 0; i < 40; i++)
        {
            image.WithBitmap($"b{i}", flags: BitmapFlags.InUse);
        }

        byte[] bytes = image.Build();
        int end = bytes.Length;
        Array.Resize(ref bytes, end + (8 << 20));
        foreach (TestBitmap bitmap in image.Bitmaps)
        {
            int entry = image.DirectoryOffset + bitmap.EntryOffsetInDirectory;
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(entry), (ulong)end);
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(entry + 8), 1 << 20);
        }

        await using Qcow2Image opened = await TestImage.OpenAsync(bytes);
        var clock = Stopwatch.StartNew();
        CheckReport report = await opened.CheckAsync(Token);

        Assert.True(clock.Elapsed < Patience.Limit, clock.Elapsed.ToString());
        // Each bitmap's table as clusters that are used, and as entries.
        Assert.InRange(report.CheckErrors, 1, 80);
        Assert.Contains(report.Findings, static f => f.Message.Contains("tables overlap", StringComparison.Ordinal));
    }

    [Fact]
    public async Task UsesWithoutNumberAreCountedAndDoNotOverflow()
    {
        // 65,536 snapshots name one L1 table, whose 65,536 entries name one L2 table: 2^32 uses of it and of its clusters.
        const int Entries = 65_536;
        const int EntryBytes = 56;
        var image = new TestImage(12, 1 << 20);
        byte[] bytes = image.Build();
        int snapshots = bytes.Length;
        int l1 = snapshots + (Entries * EntryBytes);
        int l2 = l1 + (Entries * 8);
        Array.Resize(ref bytes, l2 + 4096);
        for (int i = 0; i < Entries; i++)
        {
            var snapshot = new Qcow2Bitmaps.Format.SnapshotEntry { L1TableOffset = (ulong)l1, L1Size = Entries, ExtraData = new byte[16] };
            Assert.Equal(EntryBytes, snapshot.Write(bytes.AsSpan(snapshots + (i * EntryBytes))));
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(l1 + (i * 8)), (ulong)l2);
        }

        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(l2), (ulong)l2);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(60), Entries);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(64), (ulong)snapshots);
        await using Qcow2Image opened = await TestImage.OpenAsync(bytes);
        var clock = Stopwatch.StartNew();

        CheckReport report = await opened.CheckAsync(Token);

        Assert.True(clock.Elapsed < Patience.Limit, clock.Elapsed.ToString());
        Assert.True(report.Corruptions > 0);
        Assert.Contains(report.Findings, static f => f.Message.Contains("overflow cluster offset", StringComparison.Ordinal));
    }

    [Fact]
    public async Task AHeaderThatOnlyALenientReaderTakesIsNotFollowed()
    {
        byte[] bytes = new TestImage().Build();
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(56), uint.MaxValue);
        await using Qcow2Image opened = await TestImage.OpenAsync(bytes, Strictness.Lenient);

        Qcow2FormatException refusal = await Assert.ThrowsAsync<Qcow2FormatException>(async () => await opened.CheckAsync(Token));

        Assert.Equal(Qcow2Bitmaps.Format.FaultCode.HeaderRefcountTable, refusal.Fault.Code);
    }

    [Fact]
    public async Task SnapshotsThatAreIncompleteOrAstrayAreCorruptions()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        byte[] image = await File.ReadAllBytesAsync(Path.Combine(FixtureFiles.Root, "images", "snapshots.qcow2"), Token);
        int table = (int)BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(64));

        byte[] unaligned = (byte[])image.Clone();
        unaligned[table + 6] ^= 2;
        await AssertSameAsync(folder.Write("unaligned.qcow2", unaligned), "human");

        byte[] tooLarge = (byte[])image.Clone();
        tooLarge[table + 8] = 0x31;
        await AssertSameAsync(folder.Write("large.qcow2", tooLarge), "human");

        // The last entry's extra data shrink; id and name follow them and become other bytes.
        byte[] incomplete = (byte[])image.Clone();
        const int FirstEntryBytes = 72;
        incomplete[table + FirstEntryBytes + 39] = 8;
        await AssertSameAsync(folder.Write("incomplete.qcow2", incomplete), "human");
    }

    [Fact]
    public async Task ASparseFileCostsWhatIsUsedOfIt()
    {
        using var folder = new TempFolder();
        string path = folder.Write("a.qcow2", new TestImage(9, 1 << 16).WithBitmap("a", bits: [1]).Build());
        await using (var storage = Qcow2Bitmaps.Storage.FileStorage.Open(path, FileAccess.ReadWrite))
        {
            await storage.SetLengthAsync(500L << 30, Token);
        }

        await using Qcow2Image opened = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        long before = GC.GetAllocatedBytesForCurrentThread();
        var clock = Stopwatch.StartNew();
        CheckReport report = await opened.CheckAsync(Token);

        Assert.Equal((0, 0), (report.Corruptions, report.Leaks));
        Assert.True(clock.Elapsed < Patience.Limit, clock.Elapsed.ToString());
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 200 << 20);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task TablesThatAreHolesOrScatterCostWhatTheFileOccupies(bool areHoles)
    {
        // An L1 table of 8192 entries in a file of 245 GiB. It names tables that are holes, or tables whose 524,288
        // entries each name a cluster far from all others.
        const int Tables = 8192;
        const int EntriesPerTable = 64;
        using var folder = new TempFolder();
        string path = folder.Write("a.qcow2", new TestImage(9, (long)Tables * EntriesPerTable * 512).Build());
        await using var storage = Qcow2Bitmaps.Storage.FileStorage.Open(path, FileAccess.ReadWrite);
        await storage.SetLengthAsync(245L << 30, Token);
        var l1 = new byte[Tables * 8];
        var l2 = new byte[Tables * EntriesPerTable * 8];
        const long L2Start = 1 << 20;
        for (int i = 0; i < Tables; i++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(l1.AsSpan(i * 8), (ulong)(L2Start + (areHoles ? i * 30_000_128L : i * 512L)));
        }

        for (int i = 0; i < Tables * EntriesPerTable; i++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(l2.AsSpan(i * 8), (ulong)((16 << 20) + (i * 500_224L)));
        }

        await storage.WriteAsync(3 * 512, l1, Token);
        if (!areHoles)
        {
            await storage.WriteAsync(L2Start, l2, Token);
        }

        await using Qcow2Image opened = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
        long before = GC.GetAllocatedBytesForCurrentThread();
        var clock = Stopwatch.StartNew();
        CheckReport report = await opened.CheckAsync(Token);

        Assert.True(clock.Elapsed < Patience.Limit, clock.Elapsed.ToString());
        Assert.InRange(report.Corruptions, Tables, long.MaxValue);
        // Most of it is the findings that are kept.
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 150 << 20);
    }

    [Fact]
    public async Task AnImageWithoutReferenceCountsIsCheckedAsQemuDoes()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        byte[] image = await File.ReadAllBytesAsync(Path.Combine(FixtureFiles.Root, "images", "snapshots.qcow2"), Token);
        BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(56), 0);
        await AssertSameAsync(folder.Write("a.qcow2", image), "human");
    }

    [Fact]
    public async Task ASnapshotTableBehindTheEndIsCheckedAsQemuDoes()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        byte[] image = await File.ReadAllBytesAsync(Path.Combine(FixtureFiles.Root, "images", "snapshots.qcow2"), Token);
        BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan(64), 1UL << 32);
        await AssertSameAsync(folder.Write("a.qcow2", image), "human");
    }

    [Fact]
    public async Task AFileOfTooManyClustersIsRefused()
    {
        using var folder = new TempFolder();
        string path = folder.Write("a.qcow2", new TestImage(9, 1 << 16).Build());
        await using (var storage = Qcow2Bitmaps.Storage.FileStorage.Open(path, FileAccess.ReadWrite))
        {
            await storage.SetLengthAsync(2L << 40, Token);
        }

        ProcessResult result = await Support.Cli.RunAsync("check", path);

        Assert.Equal(1, result.ExitCode);
        Assert.Contains("4294967296 clusters are too many", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnImageThatQemuRefusesBecauseOfABitmapIsChecked()
    {
        using var folder = new TempFolder();
        var image = new TestImage().WithBitmap("good", bits: [1]).WithBitmap("bad", bits: [1]);
        byte[] bytes = image.Build();
        const int Type = 16;
        bytes[image.DirectoryOffset + image.Bitmaps[1].EntryOffsetInDirectory + Type] = 9;
        string path = folder.Write("a.qcow2", bytes);

        ProcessResult result = await Support.Cli.RunAsync("check", path);

        Assert.Equal(2, result.ExitCode);
        Assert.Contains("\nERROR bitmap directory entry 1 ('bad'): type at offset ", "\n" + result.Error, StringComparison.Ordinal);
        Assert.Contains("1 errors were found on the image.", result.Output, StringComparison.Ordinal);
        // The broken bitmap's table and its cluster of bits.
        Assert.Contains("2 leaked clusters were found on the image.", result.Output, StringComparison.Ordinal);
        if (Qemu.IsHere)
        {
            Assert.Contains("doesn't satisfy the constraints", (await Qemu.ImgAsync("check", path)).Error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task ABrokenTableIsACorruptionOfTheImage()
    {
        var image = new TestImage().WithBitmap("a", bits: [1]);
        byte[] bytes = image.Build();
        bytes[image.Bitmaps[0].TableOffset] = 0xff;
        await using Qcow2Image opened = await TestImage.OpenAsync(bytes);

        CheckReport report = await opened.CheckAsync(Token);

        Assert.Equal((1, 1), (report.Corruptions, report.Leaks));
        Assert.Contains("bitmap 'a': table entry 0xff", report.Findings[0].Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task OtherFormatsCannotBeChecked()
    {
        string raw = FixtureIndex.Images.Single(static f => f.RelativePath == "images/plain.raw").Path;

        ProcessResult result = await Support.Cli.RunAsync("check", raw);

        Assert.Equal((63, "qcow2bitmaps: This image format does not support checks\n"), (result.ExitCode, result.Error));
    }

    private static async Task AssertSameAsync(string path, string form)
    {
        ProcessResult expected = await Qemu.ImgAsync("check", "--output", form, path);
        ProcessResult actual = await Support.Cli.RunAsync("check", "--all", "--output", form, path);

        bool overflows = expected.Error.Contains("overflow cluster", StringComparison.Ordinal);
        Assert.Equal(Lines(expected.Error, overflows), Lines(actual.Error, overflows));
        Assert.Equal(expected.Output, WithoutFindings(actual.Output));
        Assert.Equal(expected.ExitCode, actual.ExitCode);
    }

    /// <summary>qemu-img's JSON has no findings.</summary>
    private static string WithoutFindings(string output)
    {
        int start = output.IndexOf(",\n    \"findings\": [", StringComparison.Ordinal);
        return start < 0 ? output : output[..start] + "\n}\n";
    }

    /// <summary>
    /// The findings, in order. QEMU adds lines of its own about what it does next. Which use of a cluster is the one too many depends on
    /// the order in which tables are read, which is not QEMU's.
    /// </summary>
    private static IEnumerable<string> Lines(string error, bool sorted)
    {
        IEnumerable<string> lines = error
            .Replace("run 'qemu-img check -r' on the image file to fix.", "\n", StringComparison.Ordinal)
            .Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Where(static line => !line.StartsWith("qemu-img: ", StringComparison.Ordinal)
                && !line.StartsWith("qcow2bitmaps: ", StringComparison.Ordinal)
                && !line.StartsWith("qcow2: Image is corrupt", StringComparison.Ordinal)
                && !line.StartsWith("Some clusters may be leaked", StringComparison.Ordinal));
        return sorted ? lines.Order(StringComparer.Ordinal) : lines;
    }
}
