using System.Text.RegularExpressions;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>
/// <c>info</c> prints what qemu-img prints, byte for byte: of every fixture, against QEMU here and against what QEMU once printed.
/// </summary>
public sealed partial class InfoTests
{
    public static TheoryData<Fixture> Fixtures => [.. FixtureIndex.Images, .. FixtureIndex.Chains.SelectMany(static chain => chain.Layers)];

    public static TheoryData<FixtureChain> Chains =>
        [.. FixtureIndex.Chains.Where(static chain => chain.Verdicts.Count > 0 || chain.Layers.Count > 1)];

    [Theory]
    [MemberData(nameof(Fixtures))]
    public async Task EqualsQemuImg(Fixture fixture)
    {
        Qemu.Require();
        foreach (string form in new[] { "human", "json" })
        {
            ProcessResult expected = await Qemu.ImgAsync("info", "--output", form, fixture.Path);
            ProcessResult actual = await Support.Cli.RunAsync("info", "--output", form, fixture.Path);

            Assert.Equal(expected.Output, actual.Output);
            Assert.Equal(expected.ExitCode, actual.ExitCode);
            Assert.Equal(expected.OutputBytes, actual.OutputBytes);
        }
    }

    [Theory]
    [MemberData(nameof(Chains))]
    public async Task ChainEqualsQemuImg(FixtureChain chain)
    {
        Qemu.Require();
        foreach (string form in new[] { "human", "json" })
        {
            ProcessResult expected = await Qemu.ImgAsync("info", "--backing-chain", "--output", form, chain.Layers[0].Path);
            ProcessResult actual = await Support.Cli.RunAsync("info", "--backing-chain", "--output", form, chain.Layers[0].Path);

            Assert.Equal(expected.Output, actual.Output);
            Assert.Equal(expected.ExitCode, actual.ExitCode);
        }
    }

    [Theory]
    [MemberData(nameof(Fixtures))]
    public async Task EqualsGoldenOutput(Fixture fixture)
    {
        ProcessResult text = await Support.Cli.RunAsync("info", fixture.Path);
        ProcessResult json = await Support.Cli.RunAsync("info", "--output=json", fixture.Path);

        Assert.Equal(await GoldenAsync(fixture.GoldenPath + ".info.txt"), Normalize(text.Output, fixture.Path));
        Assert.Equal(await GoldenAsync(fixture.GoldenPath + ".info.json"), Normalize(json.Output, fixture.Path));
    }

    [Theory]
    [MemberData(nameof(Chains))]
    public async Task ChainEqualsGoldenOutput(FixtureChain chain)
    {
        string top = chain.Layers[0].Path;
        ProcessResult text = await Support.Cli.RunAsync("info", "--backing-chain", top);
        ProcessResult json = await Support.Cli.RunAsync("info", "--backing-chain", "--output=json", top);

        string golden = Path.Combine(FixtureFiles.Root, "golden", "chains", chain.Name, "chain.info");
        Assert.Equal(await GoldenAsync(golden + ".txt"), Normalize(text.Output, top));
        Assert.Equal(await GoldenAsync(golden + ".json"), Normalize(json.Output, top));
    }

    /// <summary>
    /// Images as the fixtures have none: all that info prints, in every combination that changes the order of what it prints.
    /// </summary>
    [Theory]
    [InlineData("compat=0.10", "", "", 0)]
    [InlineData("lazy_refcounts=on,refcount_bits=64", "sub/../base", "qcow2", 2)]
    [InlineData("extended_l2=on,compression_type=zstd", "nbd:there", "raw", 1)]
    [InlineData("data_file=@data,data_file_raw=on", "", "", 1)]
    [InlineData("data_file=@da,,ta", "base", "qcow2", 1)]
    [InlineData("cluster_size=4k", "json:{\"driver\":\"null-co\"}", "null-co", 0)]
    [InlineData("cluster_size=4k", "file:base", "host_device", 1)]
    [InlineData("cluster_size=4k", "/dev/null", "file", 1)]
    [InlineData(
        "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10,encrypt.ivgen-alg=plain64,encrypt.ivgen-hash-alg=sha256", "base",
        "qcow2", 0)]
    [InlineData(
        "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10,encrypt.ivgen-alg=plain,encrypt.ivgen-hash-alg=sha1,"
        + "encrypt.cipher-mode=cbc",
        "", "", 0)]
    [InlineData(
        "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256,"
        + "encrypt.cipher-mode=cbc",
        "", "", 0)]
    public async Task GeneratedImagesEqualQemuImg(string options, string backing, string backingFormat, int snapshots)
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        string path = folder.File("image");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", folder.File("base"), "1M");
        string[] below = backing.Length == 0 ? [] : ["-u", "-b", backing, "-F", backingFormat];
        bool isEncrypted = options.Contains("encrypt", StringComparison.Ordinal);
        await Qemu.ImgOkAsync(
            [
                "create",
                "-q",
                "--object",
                "secret,id=key,data=abc",
                "-f",
                "qcow2",
                "-o",
                options.Replace("@", folder.Path + "/", StringComparison.Ordinal),
                .. below,
                path,
                "1M",
            ]);
        for (int i = 0; i < snapshots && !options.Contains("data_file", StringComparison.Ordinal); i++)
        {
            // Needs no backing file, unlike qemu-img.
            await Support.Cli.OkAsync("snapshot", "-c", $"s{i}", path);
        }

        // The order of the bitmaps is that of their making, but for one that was removed and made anew.
        string[] steps = isEncrypted || options.StartsWith("compat", StringComparison.Ordinal)
            ? []
            : ["--add z", "--add --disable a", "--add m", "--remove --add z"];
        foreach (string step in steps)
        {
            string[] words = step.Split(' ');
            await Support.Cli.OkAsync(["bitmap", .. words[..^1], path, words[^1]]);
        }

        foreach (string form in new[] { "human", "json" })
        {
            Assert.Equal(await Qemu.ImgOkAsync("info", "--output", form, path), await Support.Cli.OkAsync("info", "--output", form, path));
        }
    }

    [Fact]
    public async Task ShowsNothingThatATerminalWouldActOn()
    {
        string path = FixtureIndex.Images.Single(static f => f.RelativePath == "images/names-escaping.qcow2").Path;

        ProcessResult result = await Support.Cli.RunAsync(isTerminal: true, "info", path);

        Assert.Contains(@"name: tab \t newline \n escape \x1b delete \x7f", result.Output, StringComparison.Ordinal);
        Assert.DoesNotContain(result.Output, static c => char.IsControl(c) && c != '\n');
        Assert.Contains("emoji 😀", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task MissingBackingFileOfAChainIsAnError()
    {
        string top = FixtureIndex.Chains.Single(static c => c.Name == "missing-base-2").Layers[0].Path;

        ProcessResult result = await Support.Cli.RunAsync("info", "--backing-chain", top);

        Assert.Equal(1, result.ExitCode);
        Assert.Empty(result.Output);
        Assert.StartsWith("qcow2bitmaps: Could not open '", result.Error, StringComparison.Ordinal);
        Assert.Contains("No such file or directory", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RawFormatCanBeForcedOnAQcow2Image()
    {
        string path = FixtureIndex.Images[0].Path;

        ProcessResult result = await Support.Cli.RunAsync("info", "-f", "raw", path);

        Assert.Contains("file format: raw", result.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("cluster_size", result.Output, StringComparison.Ordinal);
    }

    private static Task<string> GoldenAsync(string path) => File.ReadAllTextAsync(path, TestContext.Current.CancellationToken);

    /// <summary>The golden outputs were made in the image's folder, and know nothing of this file system's blocks.</summary>
    private static string Normalize(string output, string imagePath)
    {
        output = output.Replace(Path.GetDirectoryName(imagePath) + "/", "", StringComparison.Ordinal);
        output = DiskSize().Replace(output, "disk size: DISK_SIZE");
        output = ActualSize().Replace(output, "\"actual-size\": 0");
        return SamePath().Replace(output, "backing file: ${name}\n");
    }

    [GeneratedRegex("^disk size: .*$", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex DiskSize();

    [GeneratedRegex("\"actual-size\": \\d+", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex ActualSize();

    [GeneratedRegex(@"backing file: (?<name>.*) \(actual path: \k<name>\)\n", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex SamePath();
}
