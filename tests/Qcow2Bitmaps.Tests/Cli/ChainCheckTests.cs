using System.Text.Json;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary><c>chain check</c>: its JSON, its table, its exit codes.</summary>
public sealed class ChainCheckTests
{
    public static TheoryData<FixtureChain> Chains => [.. FixtureIndex.Chains.Where(static chain => chain.Name != "missing-base-2")];

    [Theory]
    [MemberData(nameof(Chains))]
    public async Task JsonAndExitCode(FixtureChain chain)
    {
        ProcessResult result = await Support.Cli.RunAsync("chain", "check", "--output", "json", chain.Layers[0].Path);

        Assert.Equal(chain.Verdicts.Values.All(static v => v == "valid") ? 0 : 2, result.ExitCode);
        JsonElement root = JsonDocument.Parse(result.OutputBytes).RootElement;
        Assert.Equal(["images", "bitmaps", "all-valid"], root.EnumerateObject().Select(static p => p.Name));
        JsonElement[] images = [.. root.GetProperty("images").EnumerateArray()];
        Assert.Equal(chain.Layers.Count, images.Length);
        for (int i = 0; i < images.Length; i++)
        {
            Assert.Equal(["index", "file", "format", "virtual-size", "bitmaps"], images[i].EnumerateObject().Select(static p => p.Name));
            Assert.Equal(i, images[i].GetProperty("index").GetInt32());
            Assert.Equal(chain.Layers[i].Path, images[i].GetProperty("file").GetString());
            Assert.Equal(chain.Layers[i].Format, images[i].GetProperty("format").GetString());
            Assert.Equal(chain.Layers[i].VirtualSizeBytes, images[i].GetProperty("virtual-size").GetInt64());
            Assert.Equal(chain.Layers[i].Bitmaps, images[i].GetProperty("bitmaps").EnumerateArray().Select(static b => new FixtureBitmap(
                b.GetProperty("name").GetString()!,
                b.GetProperty("granularity").GetInt64(),
                b.GetProperty("flags").EnumerateArray().Any(static f => f.GetString() == "auto"),
                b.GetProperty("flags").EnumerateArray().Any(static f => f.GetString() == "in-use"))));
        }

        foreach (JsonElement bitmap in root.GetProperty("bitmaps").EnumerateArray())
        {
            string expected = chain.Verdicts[bitmap.GetProperty("name").GetString()!];
            bool isValid = expected == "valid";
            Assert.Equal(
                chain.Name is "grown-2" or "shrunk-2" ? ["name", "valid", "images", "sizes-differ", "detail", "remedy", "advice"]
                : isValid ? ["name", "valid", "images"]
                : ["name", "valid", "images", "reason", "image", "detail", "remedy", "advice"],
                bitmap.EnumerateObject().Select(static p => p.Name));
            Assert.Equal(isValid, bitmap.GetProperty("valid").GetBoolean());
            if (!isValid)
            {
                Assert.Equal(expected, bitmap.GetProperty("reason").GetString());
                Assert.InRange(bitmap.GetProperty("image").GetInt32(), 0, images.Length - 1);
            }
        }
    }

    [Fact]
    public async Task TableCanBeReadAtAGlance()
    {
        FixtureChain chain = FixtureIndex.Chains.Single(static c => c.Name == "gap-3");
        string folder = Path.GetDirectoryName(chain.Layers[0].Path) + "/";

        ProcessResult result = await Support.Cli.RunAsync("chain", "check", chain.Layers[0].Path);

        Assert.Equal(2, result.ExitCode);
        Assert.Equal(
            """
            image  0  top.qcow2   qcow2  10 MiB
            image  1  mid.qcow2   qcow2  10 MiB
            image  2  base.qcow2  qcow2  10 MiB

            BITMAP  0  1  2  VERDICT
            a       +  .  +  NOT VALID: gap in image 1

            + recording   o disabled   ! in-use   . absent


            """
            + "a: image 1 (mid.qcow2) does not hold bitmap 'a', though image 2 (base.qcow2) below does: "
            + "writes to image 1 (mid.qcow2) were not recorded.\n"
            + "remedy: qcow2bitmaps chain populate top.qcow2 a: rebuilds it from what the images have allocated; "
            + "it then marks all changes, and perhaps more.\n",
            result.Output.Replace(folder, "", StringComparison.Ordinal));
    }

    [Fact]
    public async Task OneBitmapCanBeAskedAbout()
    {
        string top = FixtureIndex.Chains.Single(static c => c.Name == "mixed-4").Layers[0].Path;

        Assert.Equal(0, (await Support.Cli.RunAsync("chain", "check", "--bitmap", "valid", top)).ExitCode);
        Assert.Equal(2, (await Support.Cli.RunAsync("chain", "check", "--bitmap", "gap", "--bitmap", "valid", top)).ExitCode);
        ProcessResult absent = await Support.Cli.RunAsync("chain", "check", "--bitmap", "nobody", "--output=json", top);
        Assert.Equal(2, absent.ExitCode);
        Assert.Contains("\"reason\": \"missing-in-top\"", absent.Output, StringComparison.Ordinal);
        Assert.Contains("\"remedy\": \"populate-since\"", absent.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ProfilesDifferInTheirOrder()
    {
        string top = FixtureIndex.Chains.Single(static c => c.Name == "mixed-4").Layers[0].Path;

        ProcessResult libvirt = await Support.Cli.RunAsync(
            "chain", "check", "--profile", "libvirt", "--bitmap", "gap-and-in-use", "--output=json", top);
        ProcessResult ovirt = await Support.Cli.RunAsync(
            "chain", "check", "--profile", "ovirt", "--bitmap", "gap-and-in-use", "--output=json", top);

        Assert.Contains("\"reason\": \"gap\"", libvirt.Output, StringComparison.Ordinal);
        Assert.Contains("\"reason\": \"inconsistent\"", ovirt.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task BitmapsThatCountNoLongerAreTold()
    {
        using var folder = new TempFolder();
        folder.Write("base.qcow2", new TestImage().WithBitmap("a").Build());
        string basePath = folder.File("base.qcow2");
        byte[] bytes = await File.ReadAllBytesAsync(basePath, TestContext.Current.CancellationToken);
        bytes.AsSpan(88, 8).Clear();
        folder.Write("base.qcow2", bytes);
        string top = folder.Write("top.qcow2", new TestImage { BackingFile = "base.qcow2" }.WithBitmap("a").Build());

        ProcessResult json = await Support.Cli.RunAsync("chain", "check", "--output=json", top);
        ProcessResult text = await Support.Cli.RunAsync("chain", "check", top);

        // libvirt's rules: QEMU shows no bitmap there, so that there is no gap.
        Assert.Equal(0, json.ExitCode);
        Assert.Contains("\"bitmaps-ignored\": true", json.Output, StringComparison.Ordinal);
        Assert.Contains("has bitmaps that are ignored", text.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task NoNameFakesALine()
    {
        using var folder = new TempFolder();
        string path = folder.Write(
            "a.qcow2", new TestImage().WithBitmap("vda  +  valid\nx", flags: BitmapFlags.None).Build());

        ProcessResult result = await Support.Cli.RunAsync("chain", "check", path);

        Assert.Contains(@"vda  +  valid\nx  o  NOT VALID: not-recording in image 0", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ALogicalVolumeIsFollowedThroughTheLinkInItsFolderOnly()
    {
        using var folder = new TempFolder();
        using var devices = new LoopDevices();
        string basePath = await devices.AttachAsync(folder.Write("base.img", Pad(new TestImage().WithBitmap("a").Build())));
        string topPath = await devices.AttachAsync(
            folder.Write("top.img", Pad(new TestImage { BackingFile = Path.GetFileName(basePath) }.WithBitmap("a").Build())));
        string linkedTop = await devices.AttachAsync(
            folder.Write("linked.img", Pad(new TestImage { BackingFile = "base" }.WithBitmap("a").Build())));
        Directory.CreateDirectory(folder.File("volumes"));
        File.CreateSymbolicLink(folder.File("volumes/top"), linkedTop);
        File.CreateSymbolicLink(folder.File("volumes/base"), basePath);

        ProcessResult devicesByName = await Support.Cli.RunAsync("chain", "check", topPath);
        ProcessResult allowed = await Support.Cli.RunAsync("chain", "check", "--allow-backing", "/dev", topPath);
        ProcessResult linked = await Support.Cli.RunAsync("chain", "check", folder.File("volumes/top"));

        Assert.Equal(1, devicesByName.ExitCode);
        Assert.Contains(
            "outside the allowed folders: none (--allow-backing DIR allows more)", devicesByName.Error, StringComparison.Ordinal);
        Assert.Equal(0, allowed.ExitCode);
        Assert.Equal(0, linked.ExitCode);
    }

    [Theory]
    [InlineData("vmdk")]
    [InlineData("vdi")]
    [InlineData("vhdx")]
    [InlineData("vpc")]
    [InlineData("qed")]
    [InlineData("qcow")]
    [InlineData("parallels")]
    public async Task ImagesOfOtherFormatsAreNotTakenForRawDisks(string format)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = folder.File("a.img");
        await Qemu.ImgOkAsync("create", "-f", format, path, "10M");

        foreach (string[] command in new string[][] { ["info", path], ["chain", "check", path] })
        {
            ProcessResult result = await Support.Cli.RunAsync(command);
            Assert.Equal(
                (1, $"qcow2bitmaps: '{path}' is of format '{format}'; only qcow2 and raw are read\n"), (result.ExitCode, result.Error));
        }
    }

    [Fact]
    public async Task ARawTopHoldsNoBitmaps()
    {
        string raw = FixtureIndex.Images.Single(static f => f.RelativePath == "images/plain.raw").Path;

        ProcessResult result = await Support.Cli.RunAsync("chain", "check", raw);

        Assert.Equal(0, result.ExitCode);
        Assert.Contains("No image of the chain holds a bitmap.", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AFormatThatNobodyStatedIsWarnedOf()
    {
        string top = FixtureIndex.Chains.Single(static c => c.Name == "no-format-2").Layers[0].Path;

        ProcessResult result = await Support.Cli.RunAsync("chain", "check", top);

        Assert.Equal(0, result.ExitCode);
        Assert.Contains("does not state the format of its backing file; its first bytes say qcow2", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task BackingFilesOutsideTheFolderNeedPermission()
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder.File("top"));
        Directory.CreateDirectory(folder.File("base"));
        folder.Write("base/base.qcow2", new TestImage().WithBitmap("a").Build());
        string top = folder.Write("top/top.qcow2", new TestImage { BackingFile = "../base/base.qcow2" }.WithBitmap("a").Build());

        ProcessResult refused = await Support.Cli.RunAsync("chain", "check", top);
        ProcessResult allowed = await Support.Cli.RunAsync("chain", "check", "--allow-backing", folder.File("base"), top);

        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("outside the allowed folders", refused.Error, StringComparison.Ordinal);
        Assert.Contains("(--allow-backing DIR allows more)", refused.Error, StringComparison.Ordinal);
        ProcessResult noFolder = await Support.Cli.RunAsync("chain", "check", "--allow-backing", top, top);
        Assert.Equal((1, $"qcow2bitmaps: '{top}' is not a folder\n"), (noFolder.ExitCode, noFolder.Error));
        Assert.Equal(0, allowed.ExitCode);
    }

    // A loop device has whole sectors.
    private static byte[] Pad(byte[] image) => [.. image, .. new byte[(1 << 20) - (image.Length % (1 << 20))]];
}
