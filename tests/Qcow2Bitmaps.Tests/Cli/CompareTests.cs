using System.Buffers.Binary;
using System.Globalization;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary><c>compare</c> beside qemu-img compare: output and exit code.</summary>
public sealed class CompareTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();

    public static TheoryData<string> Images =>
        [.. Directory.EnumerateFiles(FixtureFiles.Root, "*.qcow2", SearchOption.AllDirectories)
            .Select(static path => Path.GetRelativePath(FixtureFiles.Root, path))
            .Where(static path =>
                !new[] { "luks", "aes", "missing-ba", "escaping", "sparse-1t" }.Any(word => path.Contains(word, StringComparison.Ordinal)))
            .Order(StringComparer.Ordinal)];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    /// <summary>Each fixture beside its raw copy, its qcow2 copy, and another fixture.</summary>
    [Theory]
    [MemberData(nameof(Images))]
    public async Task FixturesCompareAsInQemu(string relativePath)
    {
        Qemu.Require();
        string path = Path.Combine(FixtureFiles.Root, relativePath);
        string folder = Path.GetDirectoryName(path)!;
        ProcessResult made = await Qemu.RunAsync(
            "qemu-img", folder, "convert", "-U", "-f", "qcow2", "-O", "qcow2", path, _folder.File("copy.qcow2"));
        Assert.True(made.ExitCode == 0, made.Error);
        await SameAsync(folder, "-U", path, _folder.File("copy.qcow2"));
        await SameAsync(folder, "-U", "-s", path, _folder.File("copy.qcow2"));
        await SameAsync(folder, "-U", "-s", path, path);
        await SameAsync(folder, "-U", path, Path.Combine(FixtureFiles.Root, "images/v3-plain.qcow2"));
        await SameAsync(folder, "-U", "-p", Path.Combine(FixtureFiles.Root, "images/plain.raw"), path);
    }

    [Theory]
    [InlineData("")]
    [InlineData("-s")]
    [InlineData("-p")]
    [InlineData("-q")]
    public async Task MadePairsCompareAsInQemu(string option)
    {
        Qemu.Require();
        await MakeAsync();
        string[] names = [.. Directory.EnumerateFiles(_folder.Path).Order(StringComparer.Ordinal)];
        foreach (string one in names)
        {
            foreach (string other in names)
            {
                await SameAsync(_folder.Path, [.. option.Length > 0 ? [option] : Array.Empty<string>(), one, other]);
            }
        }
    }

    [Theory]
    [InlineData]
    [InlineData("a")]
    [InlineData("a", "a", "a")]
    [InlineData("-p", "nosuch", "a")]
    [InlineData("a", "nosuch")]
    [InlineData("-f", "foo", "a", "a")]
    [InlineData("-F", "foo", "a", "a")]
    [InlineData("-f", "qcow2", "raw", "a")]
    [InlineData("--zzz", "a", "a")]
    public async Task ErrorsHaveTheExitCodesOfQemu(params string[] arguments)
    {
        Qemu.Require();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _folder.File("a"), "1M");
        File.WriteAllBytes(_folder.File("raw"), new byte[4096]);
        string[] whole = [
            "compare",
            .. arguments.Select(argument => argument is "a" or "raw" or "nosuch" ? _folder.File(argument) : argument),
        ];
        ProcessResult theirs = await Qemu.ImgAsync(whole);
        ProcessResult ours = await Support.Cli.RunAsync(whole);
        Assert.Equal(theirs.ExitCode, ours.ExitCode);
        Assert.Equal(theirs.Output, ours.Output);
        Assert.NotEmpty(ours.Error);
    }

    /// <summary>A broken table is found when it is asked for the map, broken data when they are read.</summary>
    [Theory]
    [InlineData(false, 3)]
    [InlineData(true, 4)]
    public async Task BrokenImagesHaveTheExitCodesOfQemu(bool isDataBroken, int exitCode)
    {
        Qemu.Require();
        string plain = _folder.File("plain.qcow2");
        string broken = _folder.File("broken.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", plain, "1M");
        await Qemu.IoOkAsync(plain, "write -P 7 0 128k");
        await Qemu.ImgOkAsync("convert", "-c", "-O", "qcow2", plain, broken);
        byte[] bytes = await File.ReadAllBytesAsync(broken, Token);
        int l1 = (int)BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(40));
        int l2 = (int)(BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(l1)) & 0x00ff_ffff_ffff_fe00);
        ulong entry = BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(l2));
        if (isDataBroken)
        {
            bytes.AsSpan((int)(entry & 0xff_ffff), 16).Fill(0xff);
        }
        else
        {
            // Of a plain cluster, and not at a cluster's start.
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(l2), 0x8000_0000_0005_0200);
        }

        await File.WriteAllBytesAsync(broken, bytes, Token);
        // QEMU marks the image as corrupt unless it may not.
        ProcessResult theirs = await Qemu.ImgAsync("compare", "-U", plain, broken);
        ProcessResult ours = await Support.Cli.RunAsync("compare", "-U", plain, broken);
        Assert.Equal(exitCode, theirs.ExitCode);
        Assert.Equal(exitCode, ours.ExitCode);
        Assert.Equal(theirs.Output, ours.Output);
    }

    /// <summary>Overlays of the same file: what is the same there is not read, here not even readable.</summary>
    [Fact]
    public async Task WhatStandsInTheSamePlaceIsNotRead()
    {
        Qemu.Require();
        string[] files = [_folder.File("base.qcow2"), _folder.File("one.qcow2"), _folder.File("other.qcow2")];
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _folder.File("plain.qcow2"), "1M");
        await Qemu.IoOkAsync(_folder.File("plain.qcow2"), "write -P 7 0 128k");
        await Qemu.ImgOkAsync("convert", "-c", "-O", "qcow2", _folder.File("plain.qcow2"), files[0]);
        foreach (string overlay in files[1..])
        {
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", files[0], "-F", "qcow2", overlay);
        }

        byte[] bytes = await File.ReadAllBytesAsync(files[0], Token);
        bytes.AsSpan(5 * 65536).Fill(0xff);
        await File.WriteAllBytesAsync(files[0], bytes, Token);
        ProcessResult same = await Support.Cli.RunAsync("compare", files[1], files[2]);
        Assert.Equal((0, "Images are identical.\n"), (same.ExitCode, same.Output));
        Assert.Equal(4, (await Support.Cli.RunAsync("compare", files[1], _folder.File("plain.qcow2"))).ExitCode);
    }

    private static async Task SameAsync(string folder, params string[] arguments)
    {
        ProcessResult theirs = await Qemu.RunAsync("qemu-img", folder, ["compare", .. arguments]);
        ProcessResult ours = await Support.Cli.RunAsync(["compare", .. arguments]);
        string what = string.Join(' ', arguments);
        Assert.Equal(
            $"{what}\n{theirs.ExitCode}\n{theirs.Output}",
            string.Create(CultureInfo.InvariantCulture, $"{what}\n{ours.ExitCode}\n{ours.Output}"));
    }

    /// <summary>Disks that are the same or nearly so, had in many ways.</summary>
    private async Task MakeAsync()
    {
        string a = _folder.File("a.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", a, "3M");
        await Qemu.IoOkAsync(a, "write -P 1 0 128k", "write -P 2 1000k 300k");
        foreach ((string name, string write)
            in new[]
            {
                ("byte", "write -P 9 70000 10"),
                ("zeroed", "write -z 256k 64k"),
                ("zeros", "write -P 0 256k 64k"),
                ("end", "write -P 3 3071k 1k"),
            })
        {
            File.Copy(a, _folder.File(name + ".qcow2"));
            await Qemu.IoOkAsync(_folder.File(name + ".qcow2"), write);
        }

        File.Copy(a, _folder.File("longer.qcow2"));
        await Qemu.ImgOkAsync("resize", "-q", _folder.File("longer.qcow2"), "5M");
        File.Copy(_folder.File("longer.qcow2"), _folder.File("more.qcow2"));
        await Qemu.IoOkAsync(_folder.File("more.qcow2"), "write -P 4 4608k 4k");
        await Qemu.ImgOkAsync("convert", "-O", "raw", a, _folder.File("a.raw"));
        await Qemu.ImgOkAsync("convert", "-S", "0", "-O", "raw", a, _folder.File("full.raw"));
        await Qemu.ImgOkAsync("convert", "-c", "-O", "qcow2", a, _folder.File("zlib.qcow2"));
        await Qemu.ImgOkAsync("convert", "-O", "qcow2", "-o", "cluster_size=2M", a, _folder.File("large.qcow2"));
        await Qemu.ImgOkAsync("convert", "-O", "qcow2", "-o", "cluster_size=4k", a, _folder.File("small.qcow2"));
        await Qemu.ImgOkAsync("convert", "-O", "qcow2", "-o", "extended_l2=on", a, _folder.File("subclusters.qcow2"));
        await Qemu.ImgOkAsync("convert", "-O", "qcow2", "-o", "preallocation=metadata", a, _folder.File("preallocated.qcow2"));
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", a, "-F", "qcow2", _folder.File("overlay.qcow2"), "5M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", _folder.File("a.raw"), "-F", "raw", _folder.File("over-raw.qcow2"));
        byte[] raw = await File.ReadAllBytesAsync(_folder.File("a.raw"), Token);
        await File.WriteAllBytesAsync(_folder.File("odd.raw"), raw[..1_100_001], Token);
    }
}
