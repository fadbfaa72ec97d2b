using System.Globalization;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Chains that lead astray: numbers 15 to 23 of the list of hostile images.</summary>
public sealed class HostileChainTests
{

    [Theory]
    [InlineData("json:{\"driver\":\"qcow2\"}")]
    [InlineData("json:{\"file\":{\"driver\":\"file\",\"filename\":\"inside.raw\"}}")]
    [InlineData("nbd:localhost:10809")]
    [InlineData("nbd://localhost/x")]
    [InlineData("file:inside.raw")]
    [InlineData("https://localhost/x")]
    [InlineData("fat:rw:.")]
    [InlineData("blkdebug::inside.raw")]
    [InlineData(":")]
    public async Task ProtocolsAreRefused(string name)
    {
        using var folder = new TempFolder();
        folder.Write("inside.raw", new byte[512]);
        Qcow2UnsupportedException error = await Assert.ThrowsAsync<Qcow2UnsupportedException>(
            () => OpenAsync(Overlay(folder, "top.qcow2", name)));
        Assert.Contains("protocol", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("absolute")]
    [InlineData("../")]
    [InlineData("sub/../../")]
    [InlineData("link to a file")]
    [InlineData("link to a folder")]
    public async Task NothingOutsideTheTopImagesFolderIsOpened(string way)
    {
        using var folder = new TempFolder();
        string inside = folder.File("inside");
        Directory.CreateDirectory(Path.Combine(inside, "sub"));
        string outside = folder.Write("outside.raw", new byte[512]);
        string name = way switch
        {
            "absolute" => outside,
            "../" => "../outside.raw",
            "sub/../../" => "sub/../../outside.raw",
            "link to a file" => Link(Path.Combine(inside, "link"), outside),
            _ => Link(Path.Combine(inside, "link"), folder.Path) + "/outside.raw",
        };
        string top = Overlay(folder, "inside/top.qcow2", name);

        Qcow2UnsupportedException error = await Assert.ThrowsAsync<Qcow2UnsupportedException>(() => OpenAsync(top));
        Assert.Contains("outside the allowed folders", error.Message, StringComparison.Ordinal);
        Assert.Empty(OpenFiles.Below(folder.Path));

        await using ImageChain chain = await OpenAsync(top, folder.Path);
        Assert.Equal(2, chain.Layers.Count);
    }

    [Fact]
    public async Task AFolderWhoseNameStartsLikeAnAllowedOneIsNotAllowed()
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder.File("a"));
        Directory.CreateDirectory(folder.File("ab"));
        folder.Write("ab/base.raw", new byte[512]);

        await Assert.ThrowsAsync<Qcow2UnsupportedException>(() => OpenAsync(Overlay(folder, "a/top.qcow2", "../ab/base.raw")));
    }

    [Theory]
    [InlineData("self.qcow2")]
    [InlineData("./self.qcow2")]
    [InlineData("sub/../self.qcow2")]
    [InlineData("symbolic")]
    [InlineData("hard")]
    public async Task AnImageThatIsItsOwnBackingFileIsFoundOut(string name)
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder.File("sub"));
        string path = Overlay(folder, "self.qcow2", name);
        Link(folder.File("symbolic"), "self.qcow2");
        SpecialFile.HardLink(folder.File("hard"), path);

        Qcow2UnsupportedException error = await Assert.ThrowsAsync<Qcow2UnsupportedException>(() => OpenAsync(path));
        Assert.Contains("contains a loop", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("a.qcow2")]
    [InlineData("sub/../a.qcow2")]
    [InlineData("symbolic")]
    [InlineData("hard")]
    [InlineData("folder-link/a.qcow2")]
    public async Task ACycleIsFoundOutHoweverTheNamesAreSpelt(string back)
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder.File("sub"));
        Link(folder.File("folder-link"), folder.Path);
        string a = Overlay(folder, "a.qcow2", "b.qcow2");
        Overlay(folder, "b.qcow2", back);
        Link(folder.File("symbolic"), "a.qcow2");
        SpecialFile.HardLink(folder.File("hard"), a);

        Qcow2UnsupportedException error = await Assert.ThrowsAsync<Qcow2UnsupportedException>(() => OpenAsync(a));
        Assert.Contains("contains a loop", error.Message, StringComparison.Ordinal);
        Assert.Equal(1, (await Support.Cli.RunAsync("chain", "check", a)).ExitCode);
        Assert.Empty(OpenFiles.Below(folder.Path));
    }

    [Theory]
    [InlineData(256, true)]
    [InlineData(257, false)]
    [InlineData(1000, false)]
    public async Task AChainHasAtMost256Images(int images, bool isAllowed)
    {
        using var folder = new TempFolder();
        folder.Write(NameOf(images - 1), new TestImage(clusterBits: 9).Build());
        for (int i = images - 2; i >= 0; i--)
        {
            Overlay(folder, NameOf(i), NameOf(i + 1));
        }

        if (isAllowed)
        {
            await using ImageChain chain = await OpenAsync(folder.File(NameOf(0)));
            Assert.Equal(images, chain.Layers.Count);
            return;
        }

        Qcow2UnsupportedException error = await Assert.ThrowsAsync<Qcow2UnsupportedException>(() => OpenAsync(folder.File(NameOf(0))));
        Assert.Contains("more than 256 images", error.Message, StringComparison.Ordinal);
        Assert.Empty(OpenFiles.Below(folder.Path));
    }

    [Theory]
    [InlineData("FIFO")]
    [InlineData("link to a FIFO")]
    [InlineData("directory")]
    [InlineData("/dev/zero")]
    [InlineData("link to /dev/zero")]
    public async Task ABackingFileIsARegularFileOrABlockDevice(string what)
    {
        using var folder = new TempFolder();
        string name = what;
        switch (what)
        {
            case "FIFO":
                SpecialFile.Fifo(folder.File(what));
                break;
            case "link to a FIFO":
                Link(folder.File(what), SpecialFile.Fifo(folder.File("FIFO")));
                break;
            case "directory":
                Directory.CreateDirectory(folder.File(what));
                break;
            case "link to /dev/zero":
                Link(folder.File(name = "link"), "/dev/zero");
                break;
            default:
                break;
        }

        string top = Overlay(folder, "top.qcow2", name);
        // Also where the caller allows every folder there is.
        IOException error = await Assert.ThrowsAsync<IOException>(() => OpenAsync(top, "/"));
        Assert.Contains("regular file or a block device", error.Message, StringComparison.Ordinal);
        Assert.Equal(1, (await Support.Cli.RunAsync("info", "--backing-chain", "--allow-backing", "/", top)).ExitCode);
    }

    [Theory]
    [InlineData("raw", true)]
    [InlineData("qcow2", false)]
    [InlineData("vmdk", false)]
    [InlineData("RAW", false)]
    public async Task TheStatedFormatIsBelievedAndNothingIsProbed(string format, bool isAllowed)
    {
        using var folder = new TempFolder();
        // A raw disk into whose first bytes its guest has written a qcow2 header that names a file of the host.
        byte[] guest = new TestImage { BackingFile = "/etc/passwd" }.Build();
        folder.Write("base", isAllowed ? guest : new byte[4096]);
        string top = Overlay(folder, "top.qcow2", "base", format);

        if (isAllowed)
        {
            await using ImageChain chain = await OpenAsync(top, "/");
            Assert.Equal("raw", chain.Layers[1].Format);
            Assert.Equal(2, chain.Layers.Count);
            return;
        }

        await Assert.ThrowsAnyAsync<Qcow2Exception>(() => OpenAsync(top));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    public async Task WithoutAFormatTheFirstBytesDecideAndTheToolWarns(string? format)
    {
        using var folder = new TempFolder();
        folder.Write("base", new TestImage().Build());
        string top = Overlay(folder, "top.qcow2", "base", format);

        await using ImageChain chain = await OpenAsync(top);
        Assert.True(chain.Layers[1].IsFormatProbed);
        Assert.Contains("does not state the format", (await Support.Cli.RunAsync("chain", "check", top)).Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(255, false)]
    [InlineData(256, true)]
    [InlineData(1023, true)]
    public async Task ANameTooLongForTheSystemIsAnError(int length, bool isTooLong)
    {
        using var folder = new TempFolder();
        IOException error = await Assert.ThrowsAnyAsync<IOException>(
            () => OpenAsync(Overlay(folder, "top.qcow2", new string('n', length))));
        Assert.Equal(!isTooLong, error is FileNotFoundException);
    }

    [Theory]
    [InlineData("absent\x1b[2J\r\nfake line")]
    [InlineData("\x1b]0;title\a/absent")]
    [InlineData("absent\u202egnp")]
    public async Task NamesInErrorsCannotActOnATerminal(string name)
    {
        using var folder = new TempFolder();
        ProcessResult absent = await Support.Cli.RunAsync("chain", "check", Overlay(folder, "absent.qcow2", name));
        Directory.CreateDirectory(folder.File("sub/" + Path.GetDirectoryName(name)));
        ProcessResult directory = await Support.Cli.RunAsync(
            "chain", "check", Overlay(folder, "sub/../directory.qcow2", MakeDirectory(folder, name)));
        Overlay(folder, MakeFileName(name), MakeFileName(name));
        ProcessResult self = await Support.Cli.RunAsync("chain", "check", Overlay(folder, "top.qcow2", MakeFileName(name)));

        foreach (ProcessResult result in new[] { absent, directory, self })
        {
            Assert.Equal(1, result.ExitCode);
            Assert.EndsWith("\n", result.Error, StringComparison.Ordinal);
            Assert.DoesNotContain(result.Error.Replace("\n", "", StringComparison.Ordinal), static c => char.IsControl(c) || c == '\u202e');
            Assert.DoesNotContain("\nfake", result.Error, StringComparison.Ordinal);
        }
    }

    private static string MakeDirectory(TempFolder folder, string name)
    {
        string flat = "d" + MakeFileName(name);
        Directory.CreateDirectory(folder.File(flat));
        return flat;
    }

    private static string MakeFileName(string name) => name.Replace("/absent", "", StringComparison.Ordinal);

    private static string NameOf(int index) => string.Create(CultureInfo.InvariantCulture, $"{index}.qcow2");

    private static string Link(string path, string target)
    {
        File.CreateSymbolicLink(path, target);
        return Path.GetFileName(path);
    }

    private static string Overlay(TempFolder folder, string fileName, string backing, string? format = null)
    {
        var image = new TestImage(clusterBits: backing.Length > 300 ? 12 : 9, virtualSizeBytes: 64 << 10) { BackingFile = backing };
        if (format is not null)
        {
            image.Extensions.Add(new RawHeaderExtension(HeaderExtensionType.BackingFormat, System.Text.Encoding.UTF8.GetBytes(format)));
        }

        return folder.Write(fileName, image.Build());
    }

    private static Task<ImageChain> OpenAsync(string path, params string[] allowed) => ImageChain
        .OpenAsync(path, new ChainOpenOptions { AllowedFolders = allowed }, TestContext.Current.CancellationToken)
        .WaitAsync(Patience.Limit, TestContext.Current.CancellationToken);
}
