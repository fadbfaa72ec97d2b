using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary><c>convert --bitmaps</c>: what goes along, what is refused, and that QEMU reads it.</summary>
public sealed class ConvertBitmapsTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    /// <summary>Of one image the bitmaps are QEMU's: names, granularities, flags, bits.</summary>
    [Theory]
    [InlineData("images/cluster-64k.qcow2")]
    [InlineData("images/bitmaps-40.qcow2")]
    [InlineData("images/names.qcow2")]
    [InlineData("images/odd-bit-count.qcow2")]
    [InlineData("images/all-dirty.qcow2")]
    [InlineData("images/extended-l2.qcow2")]
    public async Task ThoseOfAnImageAreQemus(string relativePath)
    {
        Qemu.Require();
        string source = Path.Combine(FixtureFiles.Root, relativePath);
        await Qemu.ImgOkAsync("convert", "--bitmaps", "-O", "qcow2", source, _folder.File("theirs"));
        ProcessResult result = await Support.Cli.RunAsync("convert", "--bitmaps", "-O", "qcow2", source, _folder.File("ours"));
        Assert.True(result.ExitCode == 0, result.Error);
        await Qemu.ImgOkAsync("check", _folder.File("ours"));
        List<string> expected = await BitmapsOfAsync(_folder.File("theirs"));
        Assert.NotEmpty(expected);
        Assert.Equal(expected, await BitmapsOfAsync(_folder.File("ours")));
    }

    /// <summary>Of a chain each bitmap has the bits of all images; QEMU's copy has the top image's only.</summary>
    [Fact]
    public async Task ThoseOfAChainHaveTheBitsOfAllImages()
    {
        Qemu.Require();
        string top = Path.Combine(FixtureFiles.Root, "chains/valid-5/top.qcow2");
        ProcessResult result = await Support.Cli.RunAsync(
            "convert", "--bitmaps", "--skip-broken-bitmaps", "-O", "qcow2", top, _folder.File("ours"));
        Assert.True(result.ExitCode == 0, result.Error);
        await using ImageChain chain = await ImageChain.OpenAsync(top, cancellationToken: Token);
        await using Qcow2Image ours = await Qcow2Image.OpenAsync(_folder.File("ours"), cancellationToken: Token);
        bool differsFromTop = false;
        foreach (BitmapVerdict verdict
            in (await chain.JudgeBitmapsAsync(cancellationToken: Token)).Where(static verdict => verdict.IsValid))
        {
            List<DirtyExtent> expected = await chain.ReadExtentsAsync(verdict.Name, cancellationToken: Token).ToListAsync(Token);
            Assert.Equal(expected, await ours.Bitmaps.ReadExtentsAsync(verdict.Name, cancellationToken: Token).ToListAsync(Token));
            differsFromTop |= !expected.SequenceEqual(
                await chain.Layers[0].RequireImage().Bitmaps.ReadExtentsAsync(verdict.Name, cancellationToken: Token).ToListAsync(Token));
        }

        Assert.True(differsFromTop);
        await Qemu.ImgOkAsync("check", _folder.File("ours"));
    }

    /// <summary>What is not valid is refused before there is a target, or left behind with a warning.</summary>
    [Theory]
    [InlineData("images/in-use.qcow2", true)]
    [InlineData("images/in-use-and-good.qcow2", true)]
    [InlineData("chains/mixed-4/top.qcow2", false)]
    public async Task ThoseThatAreNotValidAreRefusedOrLeftBehind(string relativePath, bool isAsQemu)
    {
        Qemu.Require();
        string source = Path.Combine(FixtureFiles.Root, relativePath);
        string target = _folder.File("target");
        ProcessResult refused = await Support.Cli.RunAsync("convert", "--bitmaps", "-O", "qcow2", source, target);
        Assert.Equal(1, refused.ExitCode);
        Assert.Empty(Directory.EnumerateFiles(_folder.Path));
        ProcessResult theirs = await Qemu.ImgAsync("convert", "--bitmaps", "-O", "qcow2", source, target);
        if (isAsQemu)
        {
            Assert.Equal(1, theirs.ExitCode);
            Assert.StartsWith("qcow2bitmaps: Cannot copy inconsistent bitmap '", refused.Error, StringComparison.Ordinal);
            Assert.StartsWith("qemu-img: Cannot copy inconsistent bitmap '", theirs.Error, StringComparison.Ordinal);
        }

        ProcessResult skipped = await Support.Cli.RunAsync("convert", "--bitmaps", "--skip-broken-bitmaps", "-O", "qcow2", source, target);
        Assert.Equal(0, skipped.ExitCode);
        Assert.Contains("warning: Skipping", skipped.Error, StringComparison.Ordinal);
        await Qemu.ImgOkAsync("check", target);
        if (isAsQemu)
        {
            string[] warnings = [.. skipped.Error.Replace("qcow2bitmaps", "qemu-img", StringComparison.Ordinal)
                .Split('\n').Order(StringComparer.Ordinal)];
            ProcessResult theirsSkipped = await Qemu.ImgAsync(
                "convert", "--bitmaps", "--skip-broken-bitmaps", "-O", "qcow2", source, _folder.File("theirs"));
            Assert.Equal(theirsSkipped.Error.Split('\n').Order(StringComparer.Ordinal), warnings);
            Assert.Equal(await BitmapsOfAsync(_folder.File("theirs")), await BitmapsOfAsync(target));
        }
    }

    /// <summary>A target that cannot take them is refused before its disk is written.</summary>
    [Theory]
    [InlineData("1M", true)]
    [InlineData("2M", false)]
    public async Task ATargetThatCannotTakeThemStaysAsItIs(string size, bool hasOne)
    {
        Qemu.Require();
        string source = _folder.File("source");
        string target = _folder.File("target");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", source, "1M");
        await Qemu.ImgOkAsync("bitmap", "--add", source, "b");
        await Qemu.IoOkAsync(source, "write -P 1 0 300k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", target, size);
        if (hasOne)
        {
            await Qemu.ImgOkAsync("bitmap", "--add", target, "b");
        }

        ProcessResult ours = await Support.Cli.RunAsync("convert", "-n", "--bitmaps", "-O", "qcow2", source, target);
        byte[] raw = await ReadDiskAsync(target);
        ProcessResult theirs = await Qemu.ImgAsync("convert", "-n", "--bitmaps", "-O", "qcow2", source, target);
        Assert.Equal((1, 1), (theirs.ExitCode, ours.ExitCode));
        Assert.Equal(theirs.Error.Replace("qemu-img: ", "qcow2bitmaps: ", StringComparison.Ordinal), ours.Error);
        Assert.DoesNotContain((byte)1, raw);
    }

    [Fact]
    public async Task ASnapshotHasNone()
    {
        ProcessResult ours = await Support.Cli.RunAsync(
            "convert", "-l", "s1", "--bitmaps", "-O", "qcow2", Path.Combine(FixtureFiles.Root, "images/snapshots.qcow2"),
            _folder.File("out"));
        Assert.Equal(1, ours.ExitCode);
        Assert.Contains("not of a snapshot", ours.Error, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFiles(_folder.Path));
    }

    private static async Task<byte[]> ReadDiskAsync(string path)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(path, cancellationToken: Token);
        var bytes = new byte[chain.SizeBytes];
        await chain.ReadAsync(0, bytes, Token);
        return bytes;
    }

    private static async Task<List<string>> BitmapsOfAsync(string path)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        var bitmaps = new List<string>();
        foreach (BitmapInfo bitmap in image.Bitmaps)
        {
            DirtyBitmap bits = await image.Bitmaps.LoadAsync(bitmap.Name, cancellationToken: Token);
            bitmaps.Add($"{bitmap.Name} {bitmap.GranularityBytes} {bitmap.State} {Convert.ToHexString(bits.Sha256())}");
        }

        return [.. bitmaps.Order(StringComparer.Ordinal)];
    }
}
