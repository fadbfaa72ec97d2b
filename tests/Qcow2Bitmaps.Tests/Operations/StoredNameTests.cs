using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>A name inside an image means the file that was looked at: names against verbs, read back by QEMU and by us.</summary>
public sealed class StoredNameTests
{
    private static readonly string[] s_names =
    [
        "plain.qcow2", "a:b", "file:foo.qcow2", "nbd:foo.qcow2", "json:{}", """json:{"driver":"qcow2","file.filename":"foo.qcow2"}""",
        "host_device:foo.qcow2", "fat:rw:x", ":", "x:",
        "a,b", ",", "50%25", "%2e%2f", "-dash", "--x", "-b", "@at", "trailing ", " leading", " ", "new\nline", "\n", "tab\tcr\r",
        "\x1b[31m", "a=b", "a?b#c&d", "~", "*", "'\"`$(x)", "back\\slash", ".hidden", "...",
        "é漢\U0001F600", "e\u0301", "\u202e", "\udcff.qcow2", "a\udcc3\udc28:b",
        "very" + "-long-name-of-a-file-as-tools-make-them-from-times-and-checksums-0123456789abcdef",
    ];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<string> Verbs => [.. StoredNameWorld.Verbs.Keys];

    [Theory]
    [MemberData(nameof(Verbs))]
    public async Task WhateverIsStoredIsTheFileThatWasLookedAt(string verb)
    {
        Qemu.Require();
        var wrong = new List<string>();
        using var templates = TempFolder.InMemory();
        await StoredNameWorld.MakeTemplatesAsync(templates);
        foreach (string name in s_names)
        {
            string expected = StoredNameWorld.IsChosen(verb) && BackingPath.HasProtocol(name) ? "refused" : "right";
            using StoredNameWorld world = StoredNameWorld.Make(name, templates);
            string outcome = await world.RunAsync(verb);
            if (outcome != expected)
            {
                wrong.Add($"{PrintableText.Escape(name)}: {outcome}, not {expected}");
            }
        }

        Assert.True(wrong.Count == 0, $"{verb}\n{string.Join('\n', wrong)}");
    }

    /// <summary>
    /// Which is the base, the overlay, and where they are: by links of files and folders, and by what only the kernel makes of '..'.
    /// </summary>
    [Theory]
    [InlineData("base", "overlay", "base")]
    [InlineData("./base", "sub/overlay", null)]
    [InlineData("sub/../base", "./overlay", "base")]
    // A link to a folder elsewhere: by the text alone '..' would lead back here, where another file has the name.
    [InlineData("away/../base", "overlay", null)]
    [InlineData("overlay-folder/../base", "sub/overlay", null)]
    // The base by a link beside the overlay: the link's name stays, as whoever made it wants it followed.
    [InlineData("link", "overlay", "link")]
    // The overlay by a link: both its places have to lead to the base.
    [InlineData("base", "sub/../linked-overlay", null)]
    [InlineData("sub:colon/base:x", "sub:colon/overlay", "./base:x")]
    [InlineData("sub:colon/base:x", "overlay", null)]
    public async Task FoldersAndLinks(string basePath, string overlayPath, string? stored)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        foreach (string name in (string[])["here/sub", "here/sub:colon", "there/inner", "other"])
        {
            Directory.CreateDirectory(folder.File(name));
        }

        string here = folder.File("here");
        File.CreateSymbolicLink(Path.Combine(here, "away"), folder.File("there/inner"));
        File.CreateSymbolicLink(Path.Combine(here, "overlay-folder"), folder.File("there/inner"));
        File.CreateSymbolicLink(Path.Combine(here, "linked-overlay"), folder.File("other/overlay"));
        File.CreateSymbolicLink(Path.Combine(here, "link"), folder.File("other/base"));
        byte value = 1;
        var values = new Dictionary<string, byte>(StringComparer.Ordinal);
        foreach (string path in (string[])["here/base", "there/base", "other/base", "here/sub/base", "here/sub:colon/base:x"])
        {
            await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", folder.File(path), "1M");
            await Qemu.IoOkAsync(folder.File(path), $"write -P {value} 0 1M");
            values.Add(folder.File(path), value++);
        }

        string @base = here + "/" + basePath;
        string overlay = here + "/" + overlayPath;
        byte right = values[Qcow2Bitmaps.Storage.FilePlace.Of(@base).RealPath];
        string middle = folder.File("middle");
        bool isLink = Path.GetFileName(overlayPath) == "linked-overlay";
        string real = isLink ? folder.File("other/overlay") : overlay;
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", "-b", @base, "-F", "qcow2", middle);
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", "-b", middle, "-F", "qcow2", real);

        await Support.Cli.OkAsync("chain", "pull", overlay, "--base", @base, "--allow-backing", folder.Path);

        File.Delete(middle);
        foreach (string place in (string[])[overlay, real])
        {
            ProcessResult qemu = await Qemu.RunAsync("qemu-io", "/", "-r", "-f", "qcow2", "-c", $"read -P {right} 0 1M", place);
            Assert.True(
                qemu.ExitCode == 0 && !qemu.Output.Contains("failed", StringComparison.Ordinal), $"{place}: {qemu.Output}{qemu.Error}");
            await using ImageChain chain = await ImageChain.OpenAsync(
                place, new ChainOpenOptions { AllowedFolders = [folder.Path] }, Token);
            var bytes = new byte[1];
            await chain.ReadAsync(0, bytes, Token);
            Assert.Equal(right, bytes[0]);
            Assert.True(
                stored is null
                    ? chain.Layers[0].RequireImage().BackingFile!.StartsWith('/')
                    : chain.Layers[0].RequireImage().BackingFile == stored,
                chain.Layers[0].RequireImage().BackingFile);
        }
    }

    /// <summary>
    /// A name that the caller has chosen and that leads elsewhere is refused, by every verb of the library
    /// that takes one, before anything is written.
    /// </summary>
    [Fact]
    public async Task AChosenNameThatLeadsElsewhereIsRefused()
    {
        using var folder = new TempFolder();
        await Qcow2Image.CreateAsync(folder.File("base"), new Qcow2CreateOptions { SizeBytes = 1 << 20 }, Token);
        await Qcow2Image.CreateAsync(folder.File("other"), new Qcow2CreateOptions { SizeBytes = 1 << 20 }, Token);
        await Qcow2Image.CreateAsync(
            folder.File("middle"), new Qcow2CreateOptions { SizeBytes = 1 << 20, BackingFile = "base", BackingFormat = "qcow2" }, Token);
        await Qcow2Image.CreateAsync(
            folder.File("top"), new Qcow2CreateOptions { SizeBytes = 1 << 20, BackingFile = "middle", BackingFormat = "qcow2" }, Token);
        foreach (string name in (string[])["other", "none", "base:x", "/base", "sub/base"])
        {
            byte[] before = await File.ReadAllBytesAsync(folder.File("top"), Token);
            await using (ImageChain chain = await ImageChain.OpenAsync(folder.File("base"), cancellationToken: Token))
            {
                await Assert.ThrowsAnyAsync<IOException>(
                    () => new ChainSnapshot(chain, folder.File("new"), name).RunAsync(cancellationToken: Token));
            }

            await using (ImageChain chain = await OpenAsync(folder, [0, 1, 2]))
            {
                await Assert.ThrowsAnyAsync<IOException>(
                    () => new ChainCommit(chain, 1, 2, new MergeOptions { BackingFile = name }).RunAsync(cancellationToken: Token));
                await Assert.ThrowsAnyAsync<IOException>(
                    () => new ChainRebase(chain, 0, 2, new MergeOptions { BackingFile = name }).RunAsync(cancellationToken: Token));
            }

            await using (ImageChain chain = await OpenAsync(folder, [0]))
            await using (ImageChain below = await ImageChain.OpenAsync(folder.File("base"), cancellationToken: Token))
            {
                await Assert.ThrowsAnyAsync<IOException>(
                    () => new ChainRebase(chain, 0, below, new MergeOptions { BackingFile = name }).RunAsync(cancellationToken: Token));
            }

            Assert.Equal(before, await File.ReadAllBytesAsync(folder.File("top"), Token));
            Assert.False(Path.Exists(folder.File("new")));
        }
    }

    /// <summary>
    /// A rebase that looks at nothing stores what QEMU understands, but no name of which it is not known
    /// what it means, and no format that nobody has.
    /// </summary>
    [Theory]
    [InlineData("nbd:unix:/run/x", "raw", null)]
    [InlineData("json:{}", "raw", null)]
    [InlineData("nowhere", "host_cdrom", "any")]
    [InlineData("nowhere", "nonsense", "Invalid format name: 'nonsense'")]
    [InlineData("nowhere", "raw ", "Invalid format name: 'raw '")]
    [InlineData("a:b", "qcow2", "backing file 'a:b' would be read as a protocol, not as the file of that name; that file is './a:b'")]
    public async Task WhatIsStoredUnseen(string name, string format, string? error)
    {
        using var folder = new TempFolder();
        await Qcow2Image.CreateAsync(folder.File("a:b"), new Qcow2CreateOptions { SizeBytes = 1 << 20 }, Token);
        await Qcow2Image.CreateAsync(folder.File("top"), new Qcow2CreateOptions { SizeBytes = 1 << 20 }, Token);

        ProcessResult result = await Support.Cli.RunAsync("rebase", "-u", "-q", "-b", name, "-F", format, folder.File("top"));

        if (error != "any")
        {
            Assert.Equal(error is null ? "" : $"qcow2bitmaps: {error}\n", result.Error);
            await using Qcow2Image image = await Qcow2Image.OpenAsync(folder.File("top"), cancellationToken: Token);
            Assert.Equal(error is null ? name : null, image.BackingFile);
        }
    }

    /// <summary>QEMU reads a data file's name from its current folder, we from the image's.</summary>
    [Theory]
    [InlineData("data", "image", "data")]
    [InlineData("data", "sub/image", null)]
    [InlineData("sub/data", "image", "sub/data")]
    [InlineData("sub/data", "sub/image", null)]
    [InlineData("./a:b,c", "image", "./a:b,c")]
    [InlineData("data", "link", null)]
    public async Task ADataFileIsTheOneThatWasMade(string data, string image, string? stored)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder.File("sub"));
        File.CreateSymbolicLink(folder.File("link"), folder.File("sub/image"));
        await File.WriteAllBytesAsync(folder.File("sub/image"), [], Token);
        foreach (string verb in (string[])["create", "convert"])
        {
            string[] arguments = verb == "create" ? ["create", "-q", "-f", "qcow2"] : ["convert", "-O", "qcow2"];
            await Support.Cli.OkAsync("create", "-q", "-f", "raw", folder.File("source"), "1M");
            ProcessResult made = await Tool.RunAsync(
                folder.Path,
                [
                    .. arguments,
                    "-o",
                    $"data_file={data.Replace(",", ",,", StringComparison.Ordinal)}",
                    .. verb == "create" ? [image, "1M"] : (string[])["source", image],
                ]);
            // A data file outside the image's folder is warned of.
            Assert.True(made.ExitCode == 0, made.Error);

            // From elsewhere, where the name is whole.
            ProcessResult written = await Qemu.RunAsync(
                "qemu-io", stored is null ? "/" : folder.Path, "-f", "qcow2", "-c", "write -P 7 0 1M", folder.File(image));
            Assert.Equal((0, ""), (written.ExitCode, written.Error));
            Assert.Equal(7, (await File.ReadAllBytesAsync(folder.File(data), Token))[^1]);
            await using (ImageChain chain = await ImageChain.OpenAsync(
                folder.File(image), new ChainOpenOptions { AllowedFolders = [folder.Path] }, Token))
            {
                var bytes = new byte[1];
                await chain.ReadAsync(0, bytes, Token);
                Assert.Equal(7, bytes[0]);
                Assert.Equal(stored ?? folder.File(data), chain.Layers[0].RequireImage().DataFile);
            }

            File.Delete(folder.File(data));
        }
    }

    /// <summary>What a file of that name in the current folder has is not what a protocol's name means.</summary>
    [Theory]
    [InlineData("create -q -f qcow2 -b NAME -F qcow2 new")]
    [InlineData("convert -O qcow2 -B NAME -F qcow2 old new")]
    [InlineData("rebase -b NAME -F qcow2 overlay")]
    [InlineData("rebase -u -b NAME -F qcow2 overlay")]
    [InlineData("chain rebase -b NAME -F qcow2 overlay")]
    [InlineData("chain rebase -u -b NAME -F qcow2 overlay")]
    [InlineData("chain snapshot --backing-name NAME NAME new")]
    public async Task NoProtocolIsAFileOfTheCurrentFolder(string command)
    {
        using var folder = new TempFolder();
        foreach (string name in (string[])["old", "file:foo", "foo"])
        {
            await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", folder.File(name), "1M");
        }

        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", "-b", "old", "-F", "qcow2", folder.File("overlay"));
        byte[] before = await File.ReadAllBytesAsync(folder.File("overlay"), Token);

        ProcessResult result = await Tool.RunAsync(
            folder.Path,
            [
                .. command.Replace("NAME", "file:foo", StringComparison.Ordinal).Split(' '),
            ]);

        Assert.Equal(1, result.ExitCode);
        Assert.Contains("'./file:foo'", result.Error, StringComparison.Ordinal);
        Assert.Equal(before, await File.ReadAllBytesAsync(folder.File("overlay"), Token));
        Assert.False(Path.Exists(folder.File("new")));
    }

    /// <summary>Overlays, and images that a commit removes, are found by whatever name they have.</summary>
    [Fact]
    public async Task NamesThatAreNotUtf8AreSeenAndRemoved()
    {
        using var folder = new TempFolder();
        string @base = folder.Path + "/base\udcff", top = folder.Path + "/top\udcfe", other = folder.Path + "/other\udcfd";
        await Qcow2Image.CreateAsync(@base, new Qcow2CreateOptions { SizeBytes = 1 << 20 }, Token);
        await Support.Cli.OkAsync("chain", "snapshot", @base, top);
        await Support.Cli.OkAsync("chain", "snapshot", @base, other);
        ProcessResult refused = await Support.Cli.RunAsync("chain", "commit", top, @base);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains(PrintableText.Escape(other), refused.Error, StringComparison.Ordinal);

        await Support.Cli.OkAsync("rebase", "-b", "", other);
        await Support.Cli.OkAsync("chain", "commit", top, @base);

        Assert.Equal(2, Directory.GetFiles(folder.Path).Length);
        await (await Qcow2Image.OpenAsync(@base, cancellationToken: Token)).DisposeAsync();
    }

    /// <summary>Of a file that no command opens by itself it is said, whatever name it has.</summary>
    [Fact]
    public async Task AFileOutsideIsToldOfByAnyName()
    {
        using var folder = new TempFolder();
        using var other = new TempFolder();
        string outside = other.Path + "/data\udcff";
        await Qcow2Image.CreateAsync(outside, new Qcow2CreateOptions { SizeBytes = 1 << 20 }, Token);
        await Qcow2Image.CreateAsync(folder.File("top"), new Qcow2CreateOptions { SizeBytes = 1 << 20 }, Token);
        FileBackingResolver resolver = FileBackingResolver.ForTop(folder.File("top"));

        Assert.Contains(
            "outside the allowed folders", resolver.FindRefusal(new BackingReference(folder.File("top"), outside, null, 1)) ?? "",
            StringComparison.Ordinal);
        Assert.Null(resolver.FindRefusal(new BackingReference(folder.File("top"), outside + "x", null, 1)));
    }

    private static Task<ImageChain> OpenAsync(TempFolder folder, int[] writable) =>
        ImageChain.OpenAsync(folder.File("top"), new ChainOpenOptions { WritableLayers = writable }, Token);
}
