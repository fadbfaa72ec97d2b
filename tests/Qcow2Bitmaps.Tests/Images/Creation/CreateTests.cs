using System.Security.Cryptography;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Creation;

/// <summary>The library's making of images: golden bytes, whole or not at all, storages that cannot grow, refusals.</summary>
public sealed class CreateTests
{
    private static readonly Qcow2CreateOptions s_plain = new() { SizeBytes = 1_000_000 };

    private static readonly Qcow2CreateOptions s_full = new()
    {
        SizeBytes = 1_000_000,
        ClusterSizeBytes = 512,
        RefcountBits = 64,
        Preallocation = Preallocation.Metadata,
    };

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>The hashes are those of the files that qemu-img 7.2 makes.</summary>
    public static TheoryData<Qcow2CreateOptions, string> Golden => new()
    {
        { s_plain, "bec5b32023630ed232d2619c1b300064669b3ae6442dd9274e32156599a8bc60" },
        { s_plain with { Version = 2 }, "ebe3b9f7e53245b1010913aaadebb43fea2b6505a727d6d25ae8ad387cf2ea75" },
        { s_full, "d0be0dd00ec23f8a5a625a53b8577c1b867fd4973b05cbde088593c1d744423f" },
        {
            s_plain with { ClusterSizeBytes = 4096, LazyRefcounts = true, CompressionType = CompressionType.Zstd, RefcountBits = 1 },
            "e06a9d50dab4a586b5c2fe6ee7777493bc9a5bebdc91b597ffecd7c7f6ab4f12"
        },
        {
            s_plain with { ClusterSizeBytes = 16384, ExtendedL2 = true, Preallocation = Preallocation.Metadata },
            "9c2f458ef0f7460b9a12c99af64cebd440cdcf17288befc661ed62bc39dd0b70"
        },
        {
            s_plain with { SizeBytes = 10 << 20, DataFile = "d", BackingFile = "base.qcow2", BackingFormat = "qcow2" },
            "9be942678f7854b94054dc9a47e5a9e808a8b97001ba56a9bf35e5f4987f9269"
        },
    };

    [Theory]
    [MemberData(nameof(Golden))]
    public async Task TheBytesAreQemus(Qcow2CreateOptions options, string sha256)
    {
        await using var storage = new MemoryStorage("what was here before"u8);

        await Qcow2Image.CreateAsync(storage, options, Token);

        Assert.Equal(sha256, Convert.ToHexStringLower(SHA256.HashData(storage.ToArray())));
    }

    [Fact]
    public async Task TheEmptyDiskIsTheFixtures()
    {
        await using var storage = new MemoryStorage();

        await Qcow2Image.CreateAsync(storage, new Qcow2CreateOptions { SizeBytes = 0 }, Token);

        Assert.Equal(
            await File.ReadAllBytesAsync(FixtureIndex.Images.Single(static f => f.RelativePath == "images/empty-disk.qcow2").Path, Token),
            storage.ToArray());
    }

    /// <summary>Every moment at which the making may break off, over an image that was there before.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task WhatIsHalfMadeIsNoImage(bool isFixed)
    {
        byte[] old = new TestImage(9).Build();
        Array.Resize(ref old, 2 << 20);
        int operations = 1;
        for (; ; operations++)
        {
            await using var storage = new BreakingStorage(old, operations, isFixed);
            try
            {
                await Qcow2Image.CreateAsync(storage, s_full, Token);
                break;
            }
            catch (IOException e) when (e.Message == "broken")
            {
                bool isUntouched = storage.ToArray().AsSpan().SequenceEqual(old);
                bool isHeaderWritten = await ImageFormat.ProbeAsync(storage, Token) == ImageFormat.Qcow2;
                if (isHeaderWritten && !isUntouched)
                {
                    // Only the very last flush may fail behind the header, when all else is there.
                    await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
                    Assert.Equal(0, (await image.CheckAsync(Token)).Corruptions);
                }
            }
        }

        Assert.InRange(operations, 10, 1000);
    }

    [Theory]
    [InlineData(3, false)]
    [InlineData(3, true)]
    [InlineData(2, false)]
    public async Task OldBytesOfADeviceAreNotTheNewDisks(int version, bool extendedL2)
    {
        byte[] old = new byte[3 << 20];
        old.AsSpan().Fill(0xaa);
        await using var storage = new BreakingStorage(old, 0, isFixed: true);
        Qcow2CreateOptions options = s_plain with { Version = version, ExtendedL2 = extendedL2, Preallocation = Preallocation.Metadata };

        await Qcow2Image.CreateAsync(storage, options, Token);

        await using (Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token))
        {
            CheckReport report = await image.CheckAsync(Token);
            Assert.Equal((0, 0, 16), (report.Corruptions, report.Leaks, report.AllocatedClusters));
        }

        Qemu.Require();
        using var folder = new TempFolder();
        string path = folder.Write("x", storage.ToArray());
        await Qemu.IoOkAsync(path, "read -P 0 0 1000448");
        await Qemu.IoOkAsync(path, "write -P 5 1000 70000", "read -P 5 1000 70000", "read -P 0 0 1000", "read -P 0 71000 929448");
        Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", path), StringComparison.Ordinal);
    }

    [Fact]
    public async Task AStorageThatIsTooSmallIsLeftAlone()
    {
        byte[] old = [.. new TestImage().Build()];
        await using var storage = new BreakingStorage(old, 1, isFixed: true);

        NoSpaceException error = await Assert.ThrowsAsync<NoSpaceException>(() => Qcow2Image.CreateAsync(storage, s_plain, Token));

        Assert.Equal((197120, (long?)old.Length), (error.NeededBytes, error.AvailableBytes));
        Assert.Contains($"197120 bytes are needed in all, {old.Length} are there", error.Message, StringComparison.Ordinal);
        Assert.Equal(0, storage.Operations);
        Assert.Equal(old, storage.ToArray());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(4)]
    public async Task VersionsThatDoNotExist(int version)
    {
        ArgumentException error = await Assert.ThrowsAsync<ArgumentException>(
            () => Qcow2Image.CreateAsync("/nowhere/x", s_plain with { Version = version }, Token));

        Assert.Equal("options", error.ParamName);
        Assert.Equal($"Version {version} is none of 2 and 3", (s_plain with { Version = version }).FindFault());
    }

    [Fact]
    public void OptionsThatQemuHasNoWordsFor()
    {
        Assert.Null(s_plain.FindFault());
        Assert.Equal("keep_data_file requires data_file_raw", (s_plain with { DataFile = "d", KeepDataFile = true }).FindFault());
        Assert.Equal("data-file-raw requires data-file", (s_plain with { DataFileRaw = true, KeepDataFile = true }).FindFault());
        Assert.Contains("protocol", (s_plain with { DataFile = "nbd:there" }).FindFault(), StringComparison.Ordinal);
        Assert.Contains("empty", (s_plain with { DataFile = "" }).FindFault(), StringComparison.Ordinal);
        Assert.Contains("NUL", (s_plain with { BackingFile = "a\0b", BackingFormat = "raw" }).FindFault(), StringComparison.Ordinal);
        Assert.Contains("without backing format", (s_plain with { BackingFile = "b" }).FindFault(), StringComparison.Ordinal);
        Assert.Contains("negative", (s_plain with { SizeBytes = -1 }).FindFault(), StringComparison.Ordinal);
        Assert.Contains("negative", (s_plain with { SizeBytes = long.MinValue }).FindFault(), StringComparison.Ordinal);
        Assert.Contains("none of", (s_plain with { Preallocation = (Preallocation)7 }).FindFault(), StringComparison.Ordinal);
        Assert.Contains("none of", (s_plain with { CompressionType = (CompressionType)7 }).FindFault(), StringComparison.Ordinal);
        Assert.Contains("Cluster size", (s_plain with { ClusterSizeBytes = long.MinValue }).FindFault(), StringComparison.Ordinal);
        Assert.Contains("Refcount width", (s_plain with { RefcountBits = long.MinValue }).FindFault(), StringComparison.Ordinal);
        // More refcount blocks than a table may name: QEMU finds out after minutes.
        Assert.Contains("too large", (s_full with { SizeBytes = 128L << 30 }).FindFault(), StringComparison.Ordinal);
    }

    /// <summary>All cluster sizes and widths: our own checker finds every count right, whatever the layout.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(8)]
    [InlineData(64)]
    public async Task RefcountsAreRightHoweverManyBlocksThereAre(int refcountBits)
    {
        foreach (int clusterSize in new[] { 512, 1024, 4096 })
        {
            foreach (long clusters in new long[] { 1, 63, 64, 65, 511, 4000, 4032, 4096, 5000, 40000 })
            {
                await using var storage = new MemoryStorage();
                await Qcow2Image.CreateAsync(
                    storage,
                    s_full with { SizeBytes = clusters * clusterSize, ClusterSizeBytes = clusterSize, RefcountBits = refcountBits }, Token);
                await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
                CheckReport report = await image.CheckAsync(Token);
                Assert.Equal((0, 0, 0, clusters), (report.Corruptions, report.Leaks, report.CheckErrors, report.AllocatedClusters));
            }
        }
    }
}
