using System.Buffers.Binary;
using System.Collections.Concurrent;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Checking;

/// <summary><c>check -r</c> repairs what <c>qemu-img check -r</c> repairs, says the same, and leaves the same guest bytes.</summary>
public sealed class RepairTests
{
    // Without bitmaps: QEMU 7.2 loses the snapshots of an image that has both as soon as it repairs.
    private static readonly string[] s_bases =
        [
            "cluster-4k", "snapshots", "compression-zlib", "extended-l2", "refcount-8", "refcount-64", "v2-snapshot", "cluster-512",
            "preallocated",
        ];

    private static readonly ConcurrentDictionary<string, Task<byte[]>> s_images = [];

    public static TheoryData<string, int, string> Mutations =>
        [.. s_bases.SelectMany(static b => Enumerable.Range(100, 10).SelectMany(seed => new[] { (b, seed, "leaks"), (b, seed, "all") }))];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Whoever opens for writing clears the autoclear bits that it does not know, also where nothing is to be repaired.</summary>
    [Theory]
    [InlineData("leaks")]
    [InlineData("all")]
    [InlineData("bitmaps")]
    public async Task UnknownAutoclearBitsAreCleared(string kind)
    {
        const int AutoclearFeatures = 88;
        Qemu.Require();
        using var folder = new TempFolder();
        string ours = folder.File("ours.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", ours, "4M");
        await Qemu.ImgOkAsync("bitmap", "--add", ours, "b");
        byte[] image = await File.ReadAllBytesAsync(ours, Token);
        image[AutoclearFeatures] = 0x80;
        image[AutoclearFeatures + 6] = 1;
        folder.Write("ours.qcow2", image);
        string theirs = folder.Write("theirs.qcow2", image);

        await Support.Cli.OkAsync("check", ours);
        Assert.Equal(image, await File.ReadAllBytesAsync(ours, Token));
        await Support.Cli.OkAsync("check", "-r", kind, ours);

        image = await File.ReadAllBytesAsync(ours, Token);
        Assert.Equal(1, BinaryPrimitives.ReadInt64BigEndian(image.AsSpan(AutoclearFeatures)));
        if (kind != "bitmaps")
        {
            await Qemu.ImgOkAsync("check", "-r", kind, theirs);
            Assert.Equal(1, BinaryPrimitives.ReadInt64BigEndian((await File.ReadAllBytesAsync(theirs, Token)).AsSpan(AutoclearFeatures)));
        }
    }

    [Theory]
    [MemberData(nameof(Mutations))]
    public async Task BrokenTablesAreRepairedAsQemuImgRepairsThem(string name, int seed, string kind)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        byte[] image = await s_images.GetOrAdd(name, WithoutBitmapsAsync);
        byte[] broken = new TableMutation((byte[])image.Clone(), seed).Apply();
        string theirs = folder.Write("theirs.qcow2", broken);
        string ours = folder.Write("ours.qcow2", broken);
        ProcessResult before = await Qemu.ImgAsync("check", ours);

        if (before.Error.Contains("is outside image", StringComparison.Ordinal))
        {
            // QEMU makes the file so long that it has the block, up to where the file system ends, and takes minutes.
            ProcessResult repaired = await Support.Cli.RunAsync("check", "--all", "-r", kind, ours);
            ProcessResult checkedAgain = await Qemu.ImgAsync("check", ours);
            Assert.True(
                Severity(checkedAgain) <= Severity(before), $"{before.ExitCode} became {checkedAgain.ExitCode}: {checkedAgain.Error}");
            Assert.Equal(repaired.ExitCode == 0, checkedAgain.ExitCode == 0);
            return;
        }

        ProcessResult expected = await Qemu.ImgAsync("check", "-r", kind, theirs);
        ProcessResult actual = await Support.Cli.RunAsync("check", "--all", "-r", kind, ours);

        ProcessResult after = await Qemu.ImgAsync("check", ours);
        Assert.True(Severity(after) <= Severity(before), $"{before.ExitCode} became {after.ExitCode}: {after.Error}");
        if (expected.Error.Contains("Marking image as corrupt", StringComparison.Ordinal)
            || expected.Error.Contains("rebuilt refcount structure is still broken", StringComparison.Ordinal))
        {
            // QEMU's repair has failed and left the image worse than it was.
            Assert.NotEqual(1, Severity(before));
            return;
        }

        Assert.Equal(expected.ExitCode, actual.ExitCode);
        if (!expected.Error.Contains("non-zero subcluster allocation bitmap", StringComparison.Ordinal))
        {
            // There QEMU frees data that are in use.
            Assert.Equal(Lines(expected.Error), Lines(actual.Error));
            if (expected.ExitCode != 1)
            {
                Assert.Equal(Summary(expected.Output), Summary(actual.Output));
            }
        }

        if (actual.ExitCode == 0)
        {
            Assert.Equal(0, after.ExitCode);
        }

        await AssertSameGuestAsync(folder, theirs, ours);
    }

    /// <summary>The space of what was leaked is given back, and of nothing else.</summary>
    [Fact]
    public async Task WhatIsFreedIsDiscarded()
    {
        var builder = new TestImage(clusterBits: 12, virtualSizeBytes: 1 << 24).WithGuestData(2);
        byte[] bytes = builder.Build();
        byte[] leaking = [.. bytes, .. Enumerable.Repeat((byte)0x5A, 3 << 12)];
        Span<byte> counts = leaking.AsSpan(2 << 12, 1 << 12);
        int first = bytes.Length >> 12;
        RefcountBlock.Write(counts, first, 4, 1);
        RefcountBlock.Write(counts, first + 2, 4, 7);
        var storage = new MemoryStorage(leaking);
        await using Qcow2Image image = await Qcow2Image.OpenForCheckAsync(storage, cancellationToken: Token);

        CheckReport report = await image.RepairAsync(RepairKinds.Leaks, Token);

        Assert.Equal((2, 0), (report.LeaksFixed, report.Leaks));
        byte[] expected = bytes;
        Assert.Equal(
            [.. expected, .. new byte[1 << 12], .. Enumerable.Repeat((byte)0x5A, 1 << 12), .. new byte[1 << 12]], storage.ToArray());
    }

    [Fact]
    public async Task NothingIsWrittenWhereNothingIsWrong()
    {
        using var folder = new TempFolder();
        byte[] bytes = await File.ReadAllBytesAsync(
            FixtureIndex.Images.Single(static f => f.RelativePath == "images/snapshots.qcow2").Path, Token);
        string path = folder.Write("a.qcow2", bytes);

        ProcessResult result = await Support.Cli.RunAsync("check", "-r", "all", "-r", "bitmaps", path);

        Assert.Equal((0, ""), (result.ExitCode, result.Error));
        Assert.Equal(bytes, await File.ReadAllBytesAsync(path, Token));
    }

    [Fact]
    public async Task SnapshotsOutliveTheRepairOfAnImageWithBitmaps()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        byte[] bytes = await File.ReadAllBytesAsync(
            FixtureIndex.Images.Single(static f => f.RelativePath == "images/snapshots.qcow2").Path, Token);
        // Counts of 16 bits in the cluster at 0x2000: the header's is 2, as if it had leaked.
        bytes[0x2001] = 2;
        string path = folder.Write("a.qcow2", bytes);
        string snapshots = await Qemu.ImgOkAsync("snapshot", "-l", path);

        ProcessResult result = await Support.Cli.RunAsync("check", "-r", "all", path);

        Assert.Equal(0, result.ExitCode);
        Assert.Equal("Leaked cluster 0 refcount=2 reference=1\nRepairing cluster 0 refcount=2 reference=1\n", result.Error);
        Assert.Equal(snapshots, await Qemu.ImgOkAsync("snapshot", "-l", path));
        Assert.Contains("name: first", await Qemu.ImgOkAsync("info", path), StringComparison.Ordinal);
        await Qemu.ImgOkAsync("check", path);
    }

    [Fact]
    public async Task WhatCouldNotBeCountedIsNotFreed()
    {
        // The entry of a snapshot has lost its L1 table: QEMU frees all that the snapshot has.
        Qemu.Require();
        using var folder = new TempFolder();
        byte[] image = (byte[])(await s_images.GetOrAdd("snapshots", WithoutBitmapsAsync)).Clone();
        int table = (int)System.Buffers.Binary.BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(64));
        image[table + 6] ^= 2;
        string path = folder.Write("a.qcow2", image);

        ProcessResult result = await Support.Cli.RunAsync("check", "-r", "all", path);

        Assert.Equal(2, result.ExitCode);
        Assert.Contains("Leaked cluster", result.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("Repairing cluster", result.Error, StringComparison.Ordinal);
        Assert.Equal(image, await File.ReadAllBytesAsync(path, Token));
    }

    [Fact]
    public async Task SnapshotsThatAreIncompleteAreCompletedAsQemuDoes()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        byte[] image = (byte[])(await s_images.GetOrAdd("snapshots", WithoutBitmapsAsync)).Clone();
        // Three entries more than there are: zeros, behind those that are.
        image[63] = 5;
        string theirs = folder.Write("theirs.qcow2", image);
        string ours = folder.Write("ours.qcow2", image);

        ProcessResult expected = await Qemu.ImgAsync("check", "-r", "all", theirs);
        ProcessResult actual = await Support.Cli.RunAsync("check", "--all", "-r", "all", ours);

        Assert.Equal(expected.ExitCode, actual.ExitCode);
        Assert.Equal(Lines(expected.Error), Lines(actual.Error));
        Assert.Equal(expected.Output, actual.Output);
        Assert.Equal(await Qemu.ImgOkAsync("snapshot", "-l", theirs), await Qemu.ImgOkAsync("snapshot", "-l", ours));
        await Qemu.ImgOkAsync("check", ours);
    }

    [Fact]
    public async Task WhatALostSnapshotTableNamedIsNotFreed()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        byte[] image = (byte[])(await s_images.GetOrAdd("snapshots", WithoutBitmapsAsync)).Clone();
        image[64] = 1;
        string path = folder.Write("a.qcow2", image);

        ProcessResult result = await Support.Cli.RunAsync("check", "-r", "leaks", path);

        Assert.Equal(2, result.ExitCode);
        Assert.DoesNotContain("Repairing cluster", result.Error, StringComparison.Ordinal);
        Assert.Equal(image, await File.ReadAllBytesAsync(path, Token));
    }

    [Fact]
    public async Task AFixedSizeThatIsFullFailsAndChangesNothing()
    {
        byte[] image = new TestImage(12, 1 << 20).WithBitmap("a", bits: [1]).Build();
        // The refcount block counts nothing, and no cluster is free.
        image.AsSpan(2 << 12, 1 << 12).Clear();
        await using var inner = new MemoryStorage(image);
        await using var storage = new FixedSizeStorage(inner);
        await using Qcow2Image opened = await Qcow2Image.OpenForCheckAsync(storage, cancellationToken: Token);

        await Assert.ThrowsAsync<NoSpaceException>(async () => await opened.RepairAsync(RepairKinds.All, Token));

        Assert.Equal(image, inner.ToArray());
    }

    [Fact]
    public async Task AFixedSizeWithRoomIsRepairedInPlace()
    {
        byte[] image = new TestImage(12, 1 << 20).WithBitmap("a", bits: [1]).Build();
        int end = image.Length;
        Array.Resize(ref image, end + (2 << 12));
        image.AsSpan(2 << 12, 1 << 12).Clear();
        await using var inner = new MemoryStorage(image);
        await using var storage = new FixedSizeStorage(inner);
        await using Qcow2Image opened = await Qcow2Image.OpenForCheckAsync(storage, cancellationToken: Token);

        CheckReport report = await opened.RepairAsync(RepairKinds.All, Token);

        Assert.Equal((0, 0, 0), (report.Corruptions, report.Leaks, report.CheckErrors));
        Assert.True(report.CorruptionsFixed > 0);
        Assert.Equal((ulong)end, opened.Header.RefcountTableOffset);
    }

    /// <summary>The image cannot be read again either: that is not what went wrong first.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task TheFirstErrorIsTheOneThatIsTold(bool isDirty)
    {
        byte[] bytes = new TestImage(12).WithGuestData(3).Build();
        bytes.AsSpan(2 << 12, 1 << 12).Clear();
        bytes[HeaderLayout.IncompatibleFeatures + 7] = isDirty ? (byte)1 : (byte)0;
        var memory = new MemoryStorage(bytes);
        await using var storage = new FailingStorage(memory)
        {
            FailingWrite = 1,
            WriteError = () =>
            {
                memory.WriteAsync(0, new byte[4], CancellationToken.None).AsTask().GetAwaiter().GetResult();
                return new IOException("the first error");
            },
        };
        await using Qcow2Image image = await Qcow2Image.OpenForCheckAsync(storage, cancellationToken: Token);

        IOException e = await Assert.ThrowsAsync<IOException>(
            async () => await (isDirty
                ? image.SetBackingFileAsync("b", "raw", Token)
                : image.RepairAsync(RepairKinds.All, Token)));

        Assert.Equal("the first error", e.Message);
    }

    /// <summary>1 when QEMU cannot check at all, then corruptions, then leaks.</summary>
    private static int Severity(ProcessResult check) => check.ExitCode switch
    {
        0 => 0,
        3 => 1,
        2 => 2,
        _ => 3,
    };

    private static async Task AssertSameGuestAsync(TempFolder folder, string theirs, string ours)
    {
        ProcessResult expected = await Qemu.ImgAsync("convert", "-O", "raw", theirs, folder.File("theirs.raw"));
        ProcessResult actual = await Qemu.ImgAsync("convert", "-O", "raw", ours, folder.File("ours.raw"));
        if (expected.ExitCode == 0)
        {
            Assert.Equal(0, actual.ExitCode);
            Assert.Equal(
                await File.ReadAllBytesAsync(folder.File("theirs.raw"), Token),
                await File.ReadAllBytesAsync(folder.File("ours.raw"), Token));
        }
    }

    private static async Task<byte[]> WithoutBitmapsAsync(string name)
    {
        using var folder = new TempFolder();
        string path = folder.Write("a.qcow2", await File.ReadAllBytesAsync(Path.Combine(FixtureFiles.Root, "images", name + ".qcow2")));
        string[] bitmaps;
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(path))
        {
            bitmaps = [.. image.Bitmaps.Select(static bitmap => bitmap.Name)];
        }

        foreach (string bitmap in bitmaps)
        {
            await Qemu.ImgOkAsync("bitmap", "--remove", path, bitmap);
        }

        return await File.ReadAllBytesAsync(path);
    }

    /// <summary>Without the end of the image: new reference counts may stand elsewhere.</summary>
    private static IEnumerable<string> Summary(string output) =>
        output.Split('\n').Where(static line => !line.StartsWith("Image end offset", StringComparison.Ordinal));

    private static IEnumerable<string> Lines(string error) => error
        .Split('\n', StringSplitOptions.RemoveEmptyEntries)
        .Where(static line => !line.StartsWith("qemu-img: ", StringComparison.Ordinal)
            && !line.StartsWith("qcow2bitmaps: ", StringComparison.Ordinal)
            && !line.StartsWith("qcow2: Image is corrupt", StringComparison.Ordinal));
}
