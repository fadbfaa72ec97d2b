using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Checking;

/// <summary>
/// <c>check -r bitmaps</c> makes images openable again that QEMU refuses because of a bitmap, and no bitmap lacks a bit afterwards.
/// </summary>
public sealed class BitmapRepairTests
{
    private const int Autoclear = 88;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ABrokenEntryOfTheDirectoryIsDropped()
    {
        TestImage image = Two();
        byte[] bytes = image.Build();
        bytes[image.DirectoryOffset + image.Bitmaps[1].EntryOffsetInDirectory + 16] = 9;

        (Qcow2Image mended, ProcessResult result) = await MendAsync(bytes);

        await using (mended)
        {
            Assert.Equal(["good"], mended.Bitmaps.Select(static bitmap => bitmap.Name));
        }

        Assert.Contains("Repairing bitmap directory entry 1 ('bad'): type at offset", result.Error, StringComparison.Ordinal);
        Assert.Contains("    1 corruptions\n", result.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0xff)]
    [InlineData(0x7f)]
    public async Task ABrokenEntryOfATableMakesItsRangeDirty(byte reserved)
    {
        TestImage image = Two();
        byte[] bytes = image.Build();
        bytes[image.Bitmaps[1].TableOffset] = reserved;

        (Qcow2Image mended, _) = await MendAsync(bytes);

        await using (mended)
        {
            DirtyBitmap bad = await mended.Bitmaps.LoadAsync("bad", cancellationToken: Token);
            Assert.Equal(mended.VirtualSizeBytes, bad.Count().Bytes);
            Assert.Equal(1, (await mended.Bitmaps.LoadAsync("good", cancellationToken: Token)).Count().Bits);
        }
    }

    [Fact]
    public async Task TheTableOfAnInconsistentBitmapIsMendedInPlace()
    {
        TestImage image = new TestImage().WithBitmap("a", flags: BitmapFlags.InUse, bits: [1]);
        byte[] bytes = image.Build();
        bytes[image.Bitmaps[0].TableOffset] = 0xff;

        (Qcow2Image mended, _) = await MendAsync(bytes);

        await using (mended)
        {
            Assert.Equal(BitmapState.Inconsistent, Assert.Single(mended.Bitmaps).State);
        }
    }

    /// <summary>
    /// A size that was left behind: what follows is stale bytes, zeros, or a bitmap that was removed and has missed all changes since;
    /// or the end of the directory is not in it.
    /// </summary>
    [Theory]
    [InlineData(64, "zeros", "good,bad")]
    [InlineData(64, "junk", "good,bad")]
    [InlineData(8, "zeros", "good,bad")]
    [InlineData(1000, "junk", "good,bad")]
    [InlineData(100_000, "zeros", "good,bad")]
    [InlineData(32, "ghost", "good,bad")]
    [InlineData(64, "ghost, then junk", "good,bad")]
    [InlineData(-8, "zeros", "good")]
    [InlineData(-32, "zeros", "good")]
    public async Task ASizeOfTheDirectoryThatWasLeftBehindIsMended(int difference, string behind, string expected)
    {
        TestImage image = Two();
        byte[] bytes = image.Build();
        int extension = bytes.AsSpan().IndexOf((byte[])[0x23, 0x85, 0x28, 0x75]);
        Span<byte> size = bytes.AsSpan(extension + 16, sizeof(ulong));
        int directoryBytes = (int)BinaryPrimitives.ReadUInt64BigEndian(size);
        BinaryPrimitives.WriteUInt64BigEndian(size, (ulong)(directoryBytes + difference));
        Span<byte> tail = bytes.AsSpan((image.DirectoryOffset + directoryBytes)..(image.DirectoryOffset + 4096));
        if (behind.Contains("junk", StringComparison.Ordinal))
        {
            tail.Fill(0xA5);
        }

        if (behind.Contains("ghost", StringComparison.Ordinal))
        {
            // The entry of 'good' once more, under another name.
            bytes.AsSpan(image.DirectoryOffset, 32).CopyTo(tail);
            tail[24] = (byte)'G';
        }

        if (Qemu.IsHere)
        {
            using var folder = new TempFolder();
            Assert.Equal(1, (await Qemu.ImgAsync("info", folder.Write("b.qcow2", bytes))).ExitCode);
        }

        await Assert.ThrowsAsync<Qcow2FormatException>(() => TestImage.OpenAsync(bytes));
        await using (Qcow2Image lenient = await TestImage.OpenAsync(bytes, Strictness.Lenient))
        {
            Assert.Equal(
                expected.Split(','), lenient.Bitmaps.Where(static bitmap => bitmap.Faults.Count == 0).Select(static bitmap => bitmap.Name));
        }

        (Qcow2Image mended, _) = await MendAsync(bytes);

        await using (mended)
        {
            Assert.Equal(expected.Split(','), mended.Bitmaps.Select(static bitmap => bitmap.Name));
            Assert.Equal(1, (await mended.Bitmaps.LoadAsync("good", cancellationToken: Token)).Count().Bits);
        }
    }

    [Fact]
    public async Task AnExtensionThatIsIgnoredIsDropped()
    {
        byte[] bytes = Two().Build();
        bytes[Autoclear + 7] = 0;

        (Qcow2Image mended, _) = await MendAsync(bytes);

        await using (mended)
        {
            Assert.Empty(mended.Bitmaps);
            Assert.DoesNotContain(mended.Extensions, static extension => extension.Type == HeaderExtensionType.Bitmaps);
        }
    }

    [Fact]
    public async Task ABitWithoutAnExtensionIsCleared()
    {
        byte[] bytes = new TestImage().Build();
        bytes[Autoclear + 7] = 1;

        (Qcow2Image mended, _) = await MendAsync(bytes);

        await using (mended)
        {
            Assert.Equal(AutoclearFeatures.None, mended.Header.AutoclearFeatures);
        }
    }

    [Fact]
    public async Task BitsBehindTheDisksEndAreCleared()
    {
        TestImage image = new TestImage().WithBitmap("a", bits: [1]);
        byte[] bytes = image.Build();
        int data = (int)BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(image.Bitmaps[0].TableOffset));
        int end = data + image.Geometry.ClusterSizeBytes - 1;
        bytes[end] = 0x80;
        byte[] expected = (byte[])bytes.Clone();
        expected[end] = 0;
        await using var storage = new MemoryStorage(bytes);
        await using Qcow2Image opened = await Qcow2Image.OpenForCheckAsync(storage, cancellationToken: Token);

        CheckReport report = await opened.RepairAsync(RepairKinds.Bitmaps, Token);

        Assert.Equal((1, 0), (report.CorruptionsFixed, report.Corruptions));
        Assert.Equal(expected, storage.ToArray());
    }

    [Fact]
    public async Task AllRepairsAtOnceEndClean()
    {
        // The bitmap keeps QEMU out, a cluster leaks, and the image is dirty and marked corrupt.
        TestImage image = Two();
        byte[] bytes = image.Build();
        bytes[image.DirectoryOffset + image.Bitmaps[1].EntryOffsetInDirectory + 16] = 9;
        bytes[79] = 3;
        using var folder = new TempFolder();
        string path = folder.Write("a.qcow2", bytes);

        ProcessResult result = await Support.Cli.RunAsync("check", "-r", "bitmaps", "-r", "all", path);

        Assert.Equal(0, result.ExitCode);
        await using Qcow2Image mended = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        Assert.Equal(IncompatibleFeatures.None, mended.Header.IncompatibleFeatures);
        Assert.Equal("good", Assert.Single(mended.Bitmaps).Name);
        Assert.Equal(0, (await mended.CheckAsync(Token)).Leaks);
    }

    [Theory]
    [InlineData("entry")]
    [InlineData("table")]
    [InlineData("ignored")]
    [InlineData("missing")]
    public async Task ACrashLeavesTheImageAsBeforeOrMended(string fault)
    {
        TestImage image = fault == "missing" ? new TestImage() : Two();
        byte[] bytes = image.Build();
        switch (fault)
        {
            case "entry":
                bytes[image.DirectoryOffset + image.Bitmaps[1].EntryOffsetInDirectory + 16] = 9;
                break;
            case "table":
                bytes[image.Bitmaps[1].TableOffset] = 0xff;
                break;
            default:
                bytes[Autoclear + 7] = fault == "missing" ? (byte)1 : (byte)0;
                break;
        }

        await using var storage = new CrashStorage(bytes);
        await using Qcow2Image opened = await Qcow2Image.OpenForCheckAsync(storage, cancellationToken: Token);
        await opened.RepairAsync(RepairKinds.Bitmaps, Token);

        foreach (CrashState crash in storage.States())
        {
            await using var again = new MemoryStorage(crash.Content);
            await using Qcow2Image left = await Qcow2Image.OpenForCheckAsync(again, cancellationToken: Token);
            CheckReport found = await left.CheckAsync(Token);
            Assert.True(found.Corruptions <= 1, crash.Description);
            CheckReport report = await left.RepairAsync(RepairKinds.Bitmaps, Token);
            Assert.Equal((0, 0), (report.Corruptions, report.CheckErrors));
            await using Qcow2Image mended = await Qcow2Image.OpenAsync(again, leaveOpen: true, cancellationToken: Token);
            if (fault is "entry" or "table")
            {
                Assert.Equal(1, (await mended.Bitmaps.LoadAsync("good", cancellationToken: Token)).Count().Bits);
            }
        }
    }

    /// <summary>There nobody counts uses: what the repair replaces may be in use elsewhere, and stays counted.</summary>
    [Fact]
    public async Task BitmapsOfAnImageThatIsTooLongToBeCheckedAreMended()
    {
        using var folder = new TempFolder();
        TestImage image = new TestImage(9).WithBitmap("a", bits: [1]);
        byte[] bytes = image.Build();
        bytes[image.Bitmaps[0].TableOffset] = 0xff;
        string path = folder.Write("a.qcow2", bytes);
        await using (FileStream file = File.OpenWrite(path))
        {
            // More than 2^31 clusters of 512 bytes.
            file.SetLength((1L << 40) + 512);
        }

        await using (FileStorage storage = FileStorage.Open(path, FileAccess.ReadWrite))
        {
            await using Qcow2Image broken = await Qcow2Image.OpenForCheckAsync(storage, cancellationToken: Token);
            CheckReport report = await broken.RepairAsync(RepairKinds.Bitmaps, Token);
            Assert.Equal((1, 1), (report.CorruptionsFixed, report.CheckErrors));
        }

        await using Qcow2Image mended = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        Assert.Equal(mended.VirtualSizeBytes, (await mended.Bitmaps.LoadAsync("a", cancellationToken: Token)).Count().Bytes);
        RefcountReader counts = await RefcountReader.OpenAsync(mended.Handle.Storage, mended.Handle.Header, Token);
        Assert.Equal(1UL, await counts.ReadCountAsync(new HostCluster(image.Bitmaps[0].TableOffset >> 9), Token));
    }

    private static TestImage Two() => new TestImage().WithBitmap("good", bits: [1]).WithBitmap("bad", bits: [1]);

    /// <summary>Repairs the bitmaps of an image, with QEMU as a witness where it is here.</summary>
    private static async Task<(Qcow2Image Mended, ProcessResult Result)> MendAsync(byte[] bytes)
    {
        using var folder = new TempFolder();
        string path = folder.Write("a.qcow2", bytes);
        ProcessResult result = await Support.Cli.RunAsync("check", "-r", "bitmaps", path);
        Assert.InRange(result.ExitCode, 0, 3);
        Assert.NotEqual(1, result.ExitCode);
        Assert.NotEqual(2, result.ExitCode);
        ProcessResult all = await Support.Cli.RunAsync("check", "-r", "all", path);
        Assert.Equal(0, all.ExitCode);
        if (Qemu.IsHere)
        {
            await Qemu.ImgOkAsync("check", path);
            await Qemu.ImgOkAsync("info", path);
        }

        return (await Qcow2Image.OpenAsync(
            MemoryStorage.ReadOnly(await File.ReadAllBytesAsync(path, Token)), cancellationToken: Token), result);
    }
}
