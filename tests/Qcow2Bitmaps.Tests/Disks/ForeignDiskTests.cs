using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Cli;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Disks;

/// <summary>Disks of a consumer's own making are copied and compared for what they say, or refused where they say what cannot be.</summary>
public sealed class ForeignDiskTests
{
    private const int DiskBytes = 256 << 10;

    private static readonly ConversionOptions s_raw = new() { IsQcow2 = false };

    private static readonly Dictionary<string, ((long Start, long Length)[] Extents, long? End)> s_maps = new(StringComparer.Ordinal)
    {
        ["nothing"] = ([], null),
        ["nothing, and no end"] = ([], 0),
        ["a gap"] = ([(0, 4096), (8192, DiskBytes - 8192)], null),
        ["an overlap"] = ([(0, 8192), (4096, DiskBytes - 4096)], null),
        ["a late start"] = ([(512, DiskBytes - 512)], null),
        ["an early start"] = ([(-512, DiskBytes + 512)], null),
        ["an empty extent"] = ([(0, 0), (0, DiskBytes)], null),
        ["a negative length"] = ([(0, DiskBytes), (DiskBytes, -512), (DiskBytes - 512, 512)], null),
        ["more than the disk"] = ([(0, DiskBytes + 512)], DiskBytes + 512),
        ["no end of numbers"] = ([(0, 4096), (4096, long.MaxValue)], null),
        ["another end"] = ([(0, DiskBytes)], 4096),
        ["an end that is not listed"] = ([(0, 4096)], null),
    };

    public static TheoryData<string> Maps => [.. s_maps.Keys];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private static byte[] Content => ForeignRawDisk.RandomBytes(DiskBytes);

    [Theory]
    [InlineData(1000)]
    [InlineData(65536)]
    public async Task ShortReadsAreFilled(int mostBytes)
    {
        using var folder = new TempFolder();
        string target = folder.File("target.raw");

        await DiskCopy.ConvertAsync([new ForeignDisk(Content) { MostBytes = mostBytes }], target, s_raw, cancellationToken: Token);

        Assert.Equal(Content, await File.ReadAllBytesAsync(target, Token));
        Assert.Equal(
            ComparisonOutcome.Identical,
            (await DiskCopy.CompareAsync(
                new ForeignDisk(Content) { MostBytes = mostBytes }, new RawDisk(MemoryStorage.ReadOnly(Content)),
                cancellationToken: Token)).Outcome);
    }

    [Fact]
    public async Task ReadingNothingBeforeTheEndIsAnErrorAndNotZeros()
    {
        using var folder = new TempFolder();
        var disk = new ForeignDisk(Content) { ReadableBytes = 100_000 };

        IOException e = await Assert.ThrowsAsync<IOException>(
            () => DiskCopy.ConvertAsync([disk], folder.File("target.raw"), s_raw, cancellationToken: Token));

        Assert.Contains("'foreign': reading ", e.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(folder.Path));
    }

    [Theory]
    [MemberData(nameof(Maps))]
    public async Task AMapThatIsNoneIsRefused(string map)
    {
        ((long Start, long Length)[] extents, long? end) = s_maps[map];
        var disk = new ForeignDisk(Content)
        {
            Map = [.. extents.Select(static part => new DiskExtent(part.Start, part.Length, ExtentKind.Zero, null))],
            MapEnd = end,
        };
        using var folder = new TempFolder();

        await AssertAsync(() => DiskCopy.ConvertAsync([disk], folder.File("target.raw"), s_raw, cancellationToken: Token));
        await AssertAsync(
            async () => await DiskCopy.CompareAsync(
                disk, new RawDisk(MemoryStorage.ReadOnly(Content)), cancellationToken: Token));
        await AssertAsync(async () => await disk.MapAsync(cancellationToken: Token).ToListAsync(Token));

        static async Task AssertAsync(Func<Task> call)
        {
            IOException e = await Assert.ThrowsAsync<IOException>(call);
            Assert.StartsWith("'foreign': its map of 0 to ", e.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(long.MaxValue)]
    public async Task ASizeThatNoDiskHasIsRefusedBeforeTheTargetIsMade(long size)
    {
        using var folder = new TempFolder();
        var disk = new ForeignDisk(Content) { Size = size };

        IOException e = await Assert.ThrowsAsync<IOException>(
            () => DiskCopy.ConvertAsync([disk], folder.File("target.raw"), s_raw, cancellationToken: Token));

        Assert.StartsWith($"'foreign' says that it has {size} bytes", e.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(folder.Path));
    }

    [Fact]
    public async Task SizesThatAreTooMuchTogetherAreRefused()
    {
        using var folder = new TempFolder();
        var disk = new ForeignDisk(Content) { Size = Disk.MaxSizeBytes };

        await Assert.ThrowsAsync<IOException>(
            () => DiskCopy.ConvertAsync([disk, disk], folder.File("target.raw"), s_raw, cancellationToken: Token));

        Assert.Empty(Directory.GetFiles(folder.Path));
    }

    /// <summary>Such a disk names no files; what it is it says.</summary>
    [Fact]
    public async Task ATargetThatIsTheDisksOwnFileIsRefused()
    {
        using var folder = new TempFolder();
        string path = folder.Write("disk.raw", Content);
        object identity;
        await using (ImageChain chain = await ImageChain.OpenAsync(path, new ChainOpenOptions { TopFormat = "raw" }, Token))
        {
            identity = chain.Identity;
        }

        IOException e = await Assert.ThrowsAsync<IOException>(
            () => DiskCopy.ConvertAsync(
                [new ForeignDisk(Content) { File = identity }], path, s_raw, cancellationToken: Token));

        Assert.Contains("it is the same file as 'foreign'", e.Message, StringComparison.Ordinal);
        Assert.Equal(Content, await File.ReadAllBytesAsync(path, Token));
    }

    [Fact]
    public async Task ADiskThatIsOnlyReadNeedsNoFlush() => await new ForeignDisk(Content).FlushAsync(Token);
}
