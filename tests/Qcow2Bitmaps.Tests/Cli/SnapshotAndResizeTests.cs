using System.Text.RegularExpressions;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>
/// The verbs <c>snapshot</c> and <c>resize</c> beside qemu-img's: the same command lines end in the same output,
/// errors, guest bytes, snapshots and bitmaps.
/// </summary>
public sealed partial class SnapshotAndResizeTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public static TheoryData<string> Fixtures =>
    [
        "v3-plain", "v2-plain", "v2-snapshot", "snapshots", "bitmaps-40", "extended-l2", "cluster-512", "compression-zlib",
        "compression-zstd",
        "refcount-1", "refcount-2", "refcount-4", "refcount-8", "refcount-32", "refcount-64", "lazy-refcounts", "preallocated",
        "unknown-extension", "in-use-and-good", "header-104",
    ];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Ours => _folder.File("ours.qcow2");

    private string Theirs => _folder.File("theirs.qcow2");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Fixtures))]
    public async Task SnapshotsAreThoseOfQemu(string fixture)
    {
        await StartAsync(fixture);
        await BothAsync("snapshot", "-c", "s1", "@");
        await WriteAsync("write -P 1 0 70k", "write -P 2 1M 3k", "write -c -P 3 512k 64k");
        await BothAsync("snapshot", "-c", "s2", "@");
        await WriteAsync("write -P 3 30k 100k", "discard 0 64k");
        await BothAsync("snapshot", "-c", "s2", "@");
        await BothAsync("snapshot", "-l", "@");
        await BothAsync("snapshot", "-a", "s1", "@");
        await WriteAsync("write -P 4 30k 100k");
        await BothAsync("snapshot", "-d", "s1", "@");
        await BothAsync("snapshot", "-a", "2", "@");
        await BothAsync("snapshot", "-d", "s2", "@");
        await WriteAsync("write -P 6 30k 10k");
        await BothAsync("snapshot", "-d", "s2", "@");
        await BothAsync("snapshot", "-d", "s2", "@");
        await BothAsync("snapshot", "-c", "", "@");
        await BothAsync("snapshot", "-l", "@");
    }

    [Theory]
    [MemberData(nameof(Fixtures))]
    public async Task SizesAreThoseOfQemu(string fixture)
    {
        await StartAsync(fixture);
        // qemu-img shrinks a disk cluster by cluster: minutes for GiB of small ones.
        (string growth, string behind) = fixture is "cluster-512" or "bitmaps-40" ? ("+96M", "64M") : ("+3G", "2G");
        await BothAsync("resize", "@", "+1M");
        await WriteAsync("write -P 1 0 70k", "write -P 2 1M 3k");
        await BothAsync("resize", "@", growth);
        await WriteAsync($"write -P 7 {behind} 70k");
        await BothAsync("snapshot", "-c", "one", "@");
        await BothAsync("resize", "--shrink", "@", "-2M");
        await BothAsync("resize", "@", "-1M");
        await BothAsync("resize", "@", "+100");
        await BothAsync("resize", "--shrink", "@", "1M");
        await WriteAsync("write -P 3 30k 100k");
        await BothAsync("resize", "-q", "@", "1048576");
        await BothAsync("resize", "-f", "qcow2", "@", "3M");
        await BothAsync("resize", "@", "5000P");
        await BothAsync("resize", "--shrink", "@", "64k");
        await BothAsync("resize", "--shrink", "@", "12k");
    }

    [Fact]
    public async Task MessagesAreThoseOfQemu()
    {
        await StartAsync("v3-plain");
        await BothAsync("snapshot", "-l", "-c", "x", "@");
        await BothAsync("snapshot");
        await BothAsync("snapshot", "-l", "@", "@");
        await BothAsync("snapshot", "-U", "-c", "z", "@");
        await BothAsync("snapshot", "-U", "-l", "@");
        await BothAsync("snapshot", "@");
        await BothAsync("snapshot", "-a", "none", "@");
        await BothAsync("resize", "@");
        await BothAsync("resize", "a", "b", "1M");
        await BothAsync("resize", "@", "abc");
        await BothAsync("resize", "@", "+");
        await BothAsync("resize", "@", "0");
        await BothAsync("resize", "@", "+16E");
        await BothAsync("resize", "@", "8E");
        await BothAsync("resize", "--preallocation=foo", "@", "1M");
        await BothAsync("resize", "--preallocation=full", "--shrink", "@", "1M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "raw", Ours, "1M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "raw", Theirs, "1M");
        await BothAsync("snapshot", "-l", "@");
        await BothAsync("resize", "-f", "raw", "@", "1000001");
        await BothAsync("resize", "-f", "raw", "--shrink", "@", "1000001");
        await BothAsync("resize", "-f", "raw", "@", "+1k");
        Assert.Equal(await File.ReadAllBytesAsync(Theirs, Token), await File.ReadAllBytesAsync(Ours, Token));
    }

    private async Task StartAsync(string fixture)
    {
        Qemu.Require();
        byte[] image = await File.ReadAllBytesAsync(Path.Combine(FixtureFiles.Root, "images", fixture + ".qcow2"), Token);
        await File.WriteAllBytesAsync(Ours, image, Token);
        await File.WriteAllBytesAsync(Theirs, image, Token);
    }

    private async Task WriteAsync(params string[] commands)
    {
        foreach (string command in commands)
        {
            // Where the disk is too small, or the image cannot hold it, for both of them.
            ProcessResult ours = await Qemu.RunAsync("qemu-io", null, "-c", command, Ours);
            ProcessResult theirs = await Qemu.RunAsync("qemu-io", null, "-c", command, Theirs);
            Assert.Equal(theirs.ExitCode, ours.ExitCode);
        }
    }

    private async Task BothAsync(params string[] arguments)
    {
        string line = string.Join(' ', arguments);
        long before = arguments[0] == "resize" ? await DiskSizeAsync(Theirs) : long.MaxValue;
        ProcessResult theirs = await Qemu.ImgAsync([.. arguments.Select(word => word == "@" ? Theirs : word)]);
        await MarkGainAsync(before);
        ProcessResult ours = await Support.Cli.RunAsync([.. arguments.Select(word => word == "@" ? Ours : word)]);
        Assert.True(theirs.ExitCode == ours.ExitCode, $"{line}: {ours.ExitCode} {ours.Error}, QEMU {theirs.ExitCode} {theirs.Error}");
        Assert.Equal(Date().Replace(theirs.Output, "DATE"), Date().Replace(ours.Output, "DATE"));
        if (theirs.ExitCode != 0)
        {
            // The first line; the tool's own name and hint differ.
            string expected = theirs.Error.Replace("qemu-img: ", "", StringComparison.Ordinal)
                .Replace(Theirs, "@", StringComparison.Ordinal)
                .Split('\n')[0];
            string actual = ours.Error.Replace("qcow2bitmaps: ", "", StringComparison.Ordinal)
                .Replace(Ours, "@", StringComparison.Ordinal)
                .Split('\n')
                .First(static text => !text.StartsWith("warning:", StringComparison.Ordinal));
            Assert.Equal(expected, actual);
        }

        byte[] image = await File.ReadAllBytesAsync(Ours, Token);
        if (image is not [(byte)'Q', (byte)'F', (byte)'I', ..])
        {
            return;
        }

        ImageViews mine = await ImageViews.ReadAsync(image, isQemus: true);
        Assert.Equal((await ImageViews.ReadAsync(await File.ReadAllBytesAsync(Theirs, Token), isQemus: true)).Text, mine.Text);
        Assert.True(mine.IsClean || theirs.ExitCode != 0, $"{line}: {mine}");
    }

    private static async Task<long> DiskSizeAsync(string path)
    {
        if (await File.ReadAllBytesAsync(path, Token) is not [(byte)'Q', (byte)'F', (byte)'I', ..])
        {
            return long.MaxValue;
        }

        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        return image.VirtualSizeBytes;
    }

    /// <summary>What a disk gains is dirty here, as it may have been longer before; QEMU calls it clean.</summary>
    private async Task MarkGainAsync(long before)
    {
        if (before == long.MaxValue || await DiskSizeAsync(Theirs) <= before)
        {
            return;
        }

        await using Qcow2Image image = await Qcow2Image.OpenAsync(Theirs, FileAccess.ReadWrite, cancellationToken: Token);
        if (image.Bitmaps.Any(static bitmap => bitmap.State == BitmapState.Recording))
        {
            await image.Bitmaps.EditAsync(
                edit =>
                {
                    foreach (BitmapInfo bitmap in image.Bitmaps.Where(static bitmap => bitmap.State == BitmapState.Recording))
                    {
                        edit.Set(bitmap.Name, before, image.VirtualSizeBytes - before);
                    }
                },
                Token);
        }
    }

    [GeneratedRegex(@"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", RegexOptions.None, 1000)]
    private static partial Regex Date();
}
