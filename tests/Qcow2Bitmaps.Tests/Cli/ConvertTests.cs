using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>
/// <c>convert</c> beside qemu-img convert: what the guest sees of the target, what the check says of it, messages and exit codes.
/// </summary>
public sealed class ConvertTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();

    public static TheoryData<string> Images => CompareTests.Images;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Images))]
    public async Task FixturesAreCopiedAsQemuDoes(string relativePath)
    {
        Qemu.Require();
        string path = Path.Combine(FixtureFiles.Root, relativePath);
        string theirs = _folder.File("theirs.raw");
        ProcessResult made = await Qemu.RunAsync(
            "qemu-img", Path.GetDirectoryName(path), "convert", "-U", "-f", "qcow2", "-O", "raw", path, theirs);
        Assert.True(made.ExitCode == 0, made.Error);

        string ours = _folder.File("ours.raw");
        await OkAsync("-U", "-f", "qcow2", "-O", "raw", path, ours);
        Assert.Equal(await HashAsync(theirs), await HashAsync(ours));
        // As sparse as theirs, but for where a hole begins.
        await OkAsync("-U", "-O", "qcow2", path, _folder.File("ours.qcow2"));
        await RequireSameAsync(theirs, _folder.File("ours.qcow2"));
        await OkAsync("-U", "-c", "-m", "3", "-O", "qcow2", path, _folder.File("packed.qcow2"));
        await RequireSameAsync(theirs, _folder.File("packed.qcow2"));
    }

    /// <summary>Chains of random content, to targets of random kinds.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(8)]
    public async Task RandomChainsAreCopiedAsQemuDoes(int seed)
    {
        Qemu.Require();
        var random = new SplitMix((ulong)seed);
        string top = await MakeChainAsync(random);
        string theirs = _folder.File("theirs.raw");
        await Qemu.ImgOkAsync("convert", "-O", "raw", top, theirs);
        string ours = _folder.File("ours.raw");
        await OkAsync("-O", "raw", "-S", Pick(random, "0", "512", "4k", "64k", "16M"), top, ours);
        Assert.Equal(await HashAsync(theirs), await HashAsync(ours));
        // Over what was there, written as it is.
        int size = (await File.ReadAllBytesAsync(theirs, Token)).Length;
        await File.WriteAllBytesAsync(ours, RandomNumberGenerator.GetBytes(size + 4096), Token);
        await OkAsync("-n", "-W", "-O", "raw", top, ours);
        Assert.Equal(await HashAsync(theirs), await HashAsync(ours, size));

        for (int i = 0; i < 3; i++)
        {
            string target = _folder.File("ours.qcow2");
            string options = Pick(
                random, "cluster_size=64k", "cluster_size=512", "cluster_size=2M", "extended_l2=on", "compat=0.10", "refcount_bits=1",
                "refcount_bits=64,cluster_size=4k", "preallocation=metadata", "lazy_refcounts=on");
            string[] more = Pick(random, "-c", "-W", "-S 0", "-m 1", "-m 16", "-S 64k", "-t writeback").Split(' ');
            more = options.StartsWith("preallocation", StringComparison.Ordinal) ? ["-W"] : more;
            await OkAsync([.. more, "-O", "qcow2", "-o", options, top, target]);
            await RequireSameAsync(theirs, target);
            // The same again, over what was there.
            await Qemu.IoOkAsync(target, "write -P 0x5a 0 100k");
            await OkAsync([.. more, "-n", "-O", "qcow2", top, target]);
            await RequireSameAsync(theirs, target);
        }
    }

    /// <summary>A target with a backing file holds what stands above it, and reads the same as the source.</summary>
    [Theory]
    [InlineData("base.qcow2", false)]
    [InlineData("mid.qcow2", false)]
    [InlineData("copy.qcow2", false)]
    [InlineData("other.qcow2", false)]
    [InlineData("mid.qcow2", true)]
    public async Task ATargetOverABackingFileReadsAsTheSource(string backing, bool compress)
    {
        Qemu.Require();
        await MakeThreeAsync();
        string top = _folder.File("top.qcow2");
        string target = _folder.File("target.qcow2");
        await OkAsync([.. compress ? ["-c"] : Array.Empty<string>(), "-O", "qcow2", "-B", backing, "-F", "qcow2", top, target]);
        await Qemu.ImgOkAsync("check", target);
        Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", top, target));
        if (backing is "mid.qcow2" or "copy.qcow2")
        {
            // Of the three clusters that the top image holds two are data.
            string theirs = _folder.File("theirs.qcow2");
            await Qemu.ImgOkAsync("convert", "-O", "qcow2", "-B", backing, "-F", "qcow2", top, theirs);
            Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", top, theirs));
            Assert.Equal(
                Allocated(await Qemu.ImgOkAsync("map", "--output=json", theirs)),
                Allocated(await Qemu.ImgOkAsync("map", "--output=json", target)));
        }
    }

    [Fact]
    public async Task AnOverlayThatExistsIsWrittenWhereItReadsOtherwise()
    {
        Qemu.Require();
        await MakeThreeAsync();
        string target = _folder.File("target.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", target, "2M");
        // QEMU would leave this where the source's top image has nothing.
        await Qemu.IoOkAsync(target, "write -P 0x33 700k 10k", "write -P 0x33 1500k 10k");
        await OkAsync("-n", "-O", "qcow2", "-B", "mid.qcow2", "-F", "qcow2", _folder.File("top.qcow2"), target);
        await Qemu.ImgOkAsync("check", target);
        Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", _folder.File("top.qcow2"), target));
    }

    [Theory]
    [InlineData("raw")]
    [InlineData("qcow2")]
    public async Task SourcesStandOneBehindTheOther(string format)
    {
        Qemu.Require();
        byte[][] parts = [
            RandomNumberGenerator.GetBytes(100_000),
            new byte[70_000],
            RandomNumberGenerator.GetBytes(513),
            RandomNumberGenerator.GetBytes(1_000_000),
        ];
        string[] files = [.. parts.Select((part, i) => _folder.Write(string.Create(CultureInfo.InvariantCulture, $"{i}.raw"), part))];
        await Qemu.ImgOkAsync(["convert", "-f", "raw", "-O", "raw", .. files, _folder.File("theirs.raw")]);
        await OkAsync(["-f", "raw", "-O", format, .. files, _folder.File("ours")]);
        await RequireSameAsync(_folder.File("theirs.raw"), _folder.File("ours"), format);
    }

    [Theory]
    [InlineData("s1")]
    [InlineData("1")]
    [InlineData("snapshot.name=s1")]
    [InlineData("snapshot.id=1")]
    [InlineData("snapshot.name=1")]
    [InlineData("snapshot.id=2,snapshot.name=1")]
    public async Task ASnapshotsDiskIsCopied(string snapshot)
    {
        Qemu.Require();
        string image = _folder.File("image.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", image, "2M");
        await Qemu.IoOkAsync(image, "write -P 1 0 300k");
        await Qemu.ImgOkAsync("snapshot", "-c", "s1", image);
        await Qemu.IoOkAsync(image, "write -P 2 100k 900k");
        // One whose name is the other's id.
        await Qemu.ImgOkAsync("snapshot", "-c", "1", image);
        await Qemu.IoOkAsync(image, "write -P 3 200k 900k");
        await Qemu.ImgOkAsync("convert", "-l", snapshot, "-O", "raw", image, _folder.File("theirs.raw"));
        await OkAsync("-l", snapshot, "-O", "raw", image, _folder.File("ours.raw"));
        Assert.Equal(await HashAsync(_folder.File("theirs.raw")), await HashAsync(_folder.File("ours.raw")));
    }

    /// <summary>The same message behind the tool's name, and the same exit code.</summary>
    [Theory]
    [InlineData("a")]
    [InlineData]
    [InlineData("a", "-O", "foo", "out")]
    [InlineData("-f", "foo", "a", "out")]
    [InlineData("-n", "-O", "foo", "a", "out")]
    [InlineData("-c", "a", "out")]
    [InlineData("-n", "-o", "size=1", "a", "out")]
    [InlineData("-l", "nosnap", "a", "out")]
    [InlineData("-l", "x", "a", "a", "out")]
    [InlineData("-l", "snapshot.id=none", "a", "out")]
    [InlineData("-l", "snapshot.foo=1", "a", "out")]
    [InlineData("-m", "0", "a", "out")]
    [InlineData("-m", "17", "a", "out")]
    [InlineData("-m", "x", "a", "out")]
    [InlineData("-S", "x", "a", "out")]
    [InlineData("-S", "513", "a", "out")]
    [InlineData("-S", "32M", "a", "out")]
    [InlineData("-t", "foo", "a", "out")]
    [InlineData("-T", "foo", "a", "out")]
    [InlineData("-F", "qcow2", "a", "out")]
    [InlineData("-B", "a", "a", "out")]
    [InlineData("-O", "qcow2", "-B", "a", "a", "out")]
    [InlineData("-O", "qcow2", "-B", "a", "-F", "qcow2", "a", "b", "out")]
    [InlineData("-O", "qcow2", "-F", "qcow2", "a", "out")]
    [InlineData("--bitmaps", "a", "out")]
    [InlineData("--bitmaps", "-O", "qcow2", "raw", "out")]
    [InlineData("--bitmaps", "-O", "qcow2", "a", "b", "out")]
    [InlineData("--bitmaps", "-O", "qcow2", "-o", "compat=0.10", "a", "out", "differs: the image is not made")]
    [InlineData("--skip-broken-bitmaps", "a", "out")]
    [InlineData("--target-is-zero", "a", "out")]
    [InlineData("-O", "qcow2", "-o", "foo=bar", "a", "out")]
    [InlineData("-o", ",a", "a", "out")]
    [InlineData("-c", "-O", "qcow2", "-o", "preallocation=metadata", "a", "out")]
    [InlineData("-n", "-O", "raw", "a", "small", "differs: how many bytes are needed is said too")]
    [InlineData("-O", "qcow2", "-o", "cluster_size=3", "a", "out")]
    public async Task ErrorsAreThoseOfQemu(params string[] arguments)
    {
        Qemu.Require();
        bool saysMore = arguments is [.., { } last] && last.EndsWith("is said too", StringComparison.Ordinal);
        arguments = [.. arguments.Where(static argument => !argument.StartsWith("differs", StringComparison.Ordinal))];
        foreach (string name in new[] { "a", "b" })
        {
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _folder.File(name), "1M");
        }

        File.WriteAllBytes(_folder.File("raw"), new byte[4096]);
        File.WriteAllBytes(_folder.File("small"), new byte[4096]);
        string[] whole = [
            "convert",
            .. arguments.Select((argument, i) =>
                argument is "a" or "b" or "raw" or "out" or "small" && !(i > 0 && arguments[i - 1] is "-O")
                    ? _folder.File(argument)
                    : argument),
        ];
        ProcessResult theirs = await Qemu.ImgAsync(whole);
        File.Delete(_folder.File("out"));
        ProcessResult ours = await Support.Cli.RunAsync(whole);
        Assert.Equal((1, theirs.ExitCode), (ours.ExitCode, ours.ExitCode));
        string expected = theirs.Error.Replace("qemu-img: ", "qcow2bitmaps: ", StringComparison.Ordinal);
        Assert.Equal(expected, saysMore ? ours.Error[..(expected.Length - 1)] + "\n" : ours.Error);
        Assert.Equal(theirs.Output, ours.Output);
        Assert.DoesNotContain(_folder.File("out"), Directory.EnumerateFiles(_folder.Path));
    }

    [Theory]
    [InlineData("-U", "-O", "raw", "a", "a")]
    [InlineData("-O", "qcow2", "a", "a")]
    [InlineData("-U", "-O", "raw", "over", "a")]
    [InlineData("-n", "-U", "-O", "qcow2", "over", "a")]
    [InlineData("-U", "-O", "raw", "a", "link")]
    public async Task WhatIsReadIsNotWritten(params string[] arguments)
    {
        Qemu.Require();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _folder.File("a"), "1M");
        await Qemu.IoOkAsync(_folder.File("a"), "write -P 1 0 300k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "a", "-F", "qcow2", _folder.File("over"));
        File.CreateSymbolicLink(_folder.File("link"), _folder.File("a"));
        string before = await HashAsync(_folder.File("a"));
        ProcessResult ours = await Support.Cli.RunAsync(
            ["convert", .. arguments.Select(argument => argument is "a" or "over" or "link" ? _folder.File(argument) : argument)]);
        Assert.Equal(1, ours.ExitCode);
        Assert.Contains("cannot be written", ours.Error, StringComparison.Ordinal);
        Assert.Equal(before, await HashAsync(_folder.File("a")));
    }

    /// <summary>A source that breaks off midway leaves no target behind, where there was none.</summary>
    [Theory]
    [InlineData("raw")]
    [InlineData("qcow2")]
    public async Task ABrokenSourceLeavesNoTarget(string format)
    {
        Qemu.Require();
        string plain = _folder.File("plain.raw");
        string image = _folder.File("image.qcow2");
        await File.WriteAllTextAsync(plain, string.Concat(Enumerable.Repeat("some text that packs well ", 400_000)), Token);
        await Qemu.ImgOkAsync("convert", "-c", "-O", "qcow2", plain, image);
        byte[] bytes = await File.ReadAllBytesAsync(image, Token);
        bytes.AsSpan(bytes.Length * 3 / 4).Fill(0xff);
        await File.WriteAllBytesAsync(image, bytes, Token);
        ProcessResult ours = await Support.Cli.RunAsync("convert", "-O", format, image, _folder.File("out"));
        Assert.Equal(1, ours.ExitCode);
        Assert.Contains("compressed cluster", ours.Error, StringComparison.Ordinal);
        Assert.DoesNotContain(_folder.File("out"), Directory.EnumerateFiles(_folder.Path));
    }

    /// <summary>Broken tables: an error and no target where QEMU has one, else the bytes that QEMU reads.</summary>
    [Theory]
    [InlineData("")]
    [InlineData("-c")]
    public async Task BrokenTablesEndAsInQemu(string how)
    {
        Qemu.Require();
        string plain = _folder.File("plain.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", plain, "4M");
        await Qemu.IoOkAsync(plain, "write -P 7 0 300k", "write -z 400k 100k", "write -P 8 3M 100k");
        string image = _folder.File("image.qcow2");
        await Qemu.ImgOkAsync(
            [.. how.Length > 0 ? ["convert", how] : new[] { "convert" }, "-O", "qcow2", "-o", "cluster_size=4k", plain, image]);
        byte[] good = await File.ReadAllBytesAsync(image, Token);
        int l1 = (int)BinaryPrimitives.ReadUInt64BigEndian(good.AsSpan(40));
        int l2 = (int)(BinaryPrimitives.ReadUInt64BigEndian(good.AsSpan(l1)) & 0x00ff_ffff_ffff_fe00);
        var random = new SplitMix(9);
        for (int i = 0; i < 60; i++)
        {
            byte[] bytes = [.. good];
            Span<byte> entry = bytes.AsSpan(random.Below(4) == 0 ? l1 : l2 + (8 * random.Below(100)), 8);
            ulong value = BinaryPrimitives.ReadUInt64BigEndian(entry);
            BinaryPrimitives.WriteUInt64BigEndian(entry, random.Below(3) == 0 ? random.Next() : value ^ (1UL << random.Below(64)));
            await File.WriteAllBytesAsync(image, bytes, Token);
            ProcessResult theirs = await Qemu.ImgAsync("convert", "-U", "-O", "raw", image, _folder.File("theirs"));
            ProcessResult ours = await Support.Cli.RunAsync("convert", "-U", "-O", "raw", image, _folder.File("ours"));
            Assert.True(theirs.ExitCode == ours.ExitCode, $"{i}: QEMU {theirs.Error} ours {ours.Error}");
            if (ours.ExitCode == 0)
            {
                Assert.Equal(await HashAsync(_folder.File("theirs")), await HashAsync(_folder.File("ours")));
                File.Delete(_folder.File("ours"));
            }
            else
            {
                Assert.NotEmpty(ours.Error);
                Assert.DoesNotContain(_folder.File("ours"), Directory.EnumerateFiles(_folder.Path));
            }
        }
    }

    [Fact]
    public async Task ProgressEndsAtAHundred()
    {
        Qemu.Require();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _folder.File("a"), "8M");
        await Qemu.IoOkAsync(_folder.File("a"), "write -P 1 0 5M");
        ProcessResult ours = await Support.Cli.RunAsync("convert", "-p", "-O", "raw", _folder.File("a"), _folder.File("out"));
        Assert.StartsWith("    (0.00/100%)\r", ours.Output, StringComparison.Ordinal);
        Assert.EndsWith("    (100.00/100%)\r\n", ours.Output, StringComparison.Ordinal);
        ProcessResult seen = await Support.Cli.RunAsync(
            isTerminal: true, "convert", "-p", "-O", "raw", _folder.File("a"), _folder.File("out"));
        Assert.Contains("/s, ", seen.Output, StringComparison.Ordinal);
        Assert.Contains(" left", seen.Output, StringComparison.Ordinal);
    }

    private static Task<string> OkAsync(params string[] arguments) => Support.Cli.OkAsync(["convert", .. arguments]);

    private static async Task RequireSameAsync(string raw, string image, string format = "qcow2")
    {
        if (format == "qcow2")
        {
            string check = await Qemu.ImgOkAsync("check", image);
            Assert.Contains("No errors were found", check, StringComparison.Ordinal);
        }

        Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", "-f", "raw", "-F", format, raw, image));
    }

    private static async Task<string> HashAsync(string path, long? length = null)
    {
        await using FileStream file = File.OpenRead(path);
        if (length is null)
        {
            return Convert.ToHexString(await SHA256.HashDataAsync(file, Token));
        }

        var bytes = new byte[length.Value];
        await file.ReadExactlyAsync(bytes, Token);
        return Convert.ToHexString(SHA256.HashData(bytes));
    }

    private static int Allocated(string map) => map.Split("\"depth\": 0").Length - 1;

    private static string Pick(SplitMix random, params string[] choices) => random.Pick(choices);

    /// <summary>A chain of one to three images over perhaps a raw one, of random sizes, clusters and writes.</summary>
    private async Task<string> MakeChainAsync(SplitMix random)
    {
        string? below = null;
        string belowFormat = "qcow2";
        if (random.Below(2) == 0)
        {
            byte[] raw = new byte[100_000 + random.Below(1_900_000)];
            RandomNumberGenerator.Fill(raw.AsSpan(raw.Length / 3, raw.Length / 3));
            (below, belowFormat) = (_folder.Write("bottom.raw", raw), "raw");
        }

        int layers = 1 + random.Below(3);
        for (int i = 0; i < layers; i++)
        {
            string image = _folder.File(string.Create(CultureInfo.InvariantCulture, $"{i}.qcow2"));
            long size = (300 + random.Below(3700)) * 512L;
            string options = Pick(
                random, "cluster_size=64k", "cluster_size=512", "cluster_size=4k", "cluster_size=1M", "extended_l2=on",
                "compression_type=zstd");
            string[] backing = below is null ? [] : ["-b", below, "-F", belowFormat];
            await Qemu.ImgOkAsync(
                ["create", "-q", "-f", "qcow2", "-o", options, .. backing, image, size.ToString(CultureInfo.InvariantCulture)]);
            var commands = new List<string>();
            for (int write = 0; write < 12; write++)
            {
                long offset = random.Below((int)(size / 512)) * 512L;
                long length = Math.Max(512, Math.Min(size - offset, (1 + random.Below(400)) * 512L));
                commands.Add(
                    Pick(random, "write -P 7", "write -P 0xa5", "write -P 0", "write -z", "write -z -u", "discard")
                        + string.Create(CultureInfo.InvariantCulture, $" {offset} {length}"));
            }

            await Qemu.IoOkAsync(image, [.. commands]);
            (below, belowFormat) = (image, "qcow2");
        }

        return below!;
    }

    private async Task MakeThreeAsync()
    {
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _folder.File("base.qcow2"), "1M");
        await Qemu.IoOkAsync(_folder.File("base.qcow2"), "write -P 1 0 256k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", _folder.File("mid.qcow2"));
        await Qemu.IoOkAsync(
            _folder.File("mid.qcow2"), "write -P 2 128k 64k", "write -P 1 0 64k", "write -z 192k 64k", "write -P 0 640k 64k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", _folder.File("top.qcow2"), "2M");
        await Qemu.IoOkAsync(_folder.File("top.qcow2"), "write -P 3 192k 64k", "write -z 128k 64k", "write -P 4 1536k 64k");
        await Qemu.ImgOkAsync("convert", "-O", "qcow2", _folder.File("mid.qcow2"), _folder.File("copy.qcow2"));
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _folder.File("other.qcow2"), "1M");
        await Qemu.IoOkAsync(_folder.File("other.qcow2"), "write -P 9 0 700k");
    }
}
