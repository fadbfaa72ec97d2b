using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>measure beside qemu-img's.</summary>
public sealed class MeasureTests
{
    public static TheoryData<string> Fixtures =>
        [.. Directory.EnumerateFiles(FixtureFiles.Root, "*.qcow2", SearchOption.AllDirectories)
            .Select(static path => Path.GetRelativePath(FixtureFiles.Root, path))
            .Where(static path =>
                !path.Contains("luks", StringComparison.Ordinal)
                    && !path.Contains("aes", StringComparison.Ordinal)
                    && !path.Contains("missing", StringComparison.Ordinal)
                    && !path.Contains("escaping", StringComparison.Ordinal))
            .Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Fixtures))]
    public async Task OfEveryFixture(string relativePath)
    {
        Qemu.Require();
        string path = Path.Combine(FixtureFiles.Root, relativePath);
        foreach (string[] options
            in new[]
            {
                ["-O", "qcow2"],
                ["-O", "raw"],
                ["-O", "qcow2", "-o", "cluster_size=4k,refcount_bits=1"],
                new[] { "-O", "qcow2", "-o", "compat=0.10", "--output=json" },
            })
        {
            ProcessResult theirs = await Qemu.RunAsync("qemu-img", Path.GetDirectoryName(path), ["measure", "-U", .. options, path]);
            ProcessResult ours = await Support.Cli.RunAsync(["measure", "-U", .. options, path]);
            Assert.Equal((theirs.ExitCode, theirs.Output), (ours.ExitCode, ours.Output));
        }
    }

    [Theory]
    [InlineData("-O", "qcow2", "--size", "1")]
    [InlineData("-O", "qcow2", "--size", "1000000")]
    [InlineData("-O", "qcow2", "--size", "10T", "--output=json")]
    [InlineData("-O", "qcow2", "--size", "1G", "-o", "cluster_size=512,refcount_bits=64")]
    [InlineData("-O", "qcow2", "--size", "3G", "-o", "extended_l2=on,cluster_size=2M")]
    [InlineData("--size", "5G")]
    [InlineData]
    [InlineData("-O", "vmdk", "--size", "1G")]
    [InlineData("-O", "qcow2", "--size", "0")]
    [InlineData("-O", "file", "--size", "1G")]
    [InlineData("-O", "qcow2", "--size", "10M", "-o", "backing_file=x")]
    [InlineData("-O", "qcow2", "--size", "10M", "-o", "bogus=1")]
    [InlineData("-O", "qcow2", "--size", "10M", "-o", "compat=bogus")]
    [InlineData("-O", "qcow2", "--size", "10M", "-o", "preallocation=bogus")]
    [InlineData("-O", "qcow2", "--size", "10M", "-o", "cluster_size=3")]
    [InlineData("-O", "qcow2", "--size", "10M", "-o", "refcount_bits=3")]
    public async Task OfEmptyDisksAndMistakes(params string[] arguments)
    {
        Qemu.Require();
        ProcessResult theirs = await Qemu.ImgAsync(["measure", .. arguments]);
        ProcessResult ours = await Support.Cli.RunAsync(["measure", .. arguments]);
        Assert.Equal((theirs.ExitCode, theirs.Output), (ours.ExitCode, ours.Output));
        Assert.Equal(
            theirs.Error.Replace("qemu-img: ", "", StringComparison.Ordinal),
            ours.Error.Replace("qcow2bitmaps: ", "", StringComparison.Ordinal));
    }

    /// <summary>Options that make no difference to the size may be anything, and a backing file's is not asked for its format.</summary>
    [Theory]
    [InlineData("backing_file=nothing")]
    [InlineData("backing_file=nothing,backing_fmt=qcow2,cluster_size=4k")]
    [InlineData("backing_file=")]
    [InlineData("backing_fmt=bogus")]
    [InlineData("data_file=x,data_file_raw=on,backing_file=y")]
    [InlineData("data_file_raw=on")]
    [InlineData("lazy_refcounts=on,compat=0.10")]
    [InlineData("compression_type=zstd,compat=0.10")]
    [InlineData("encryption=on,nocow=on")]
    public async Task OptionsThatCreateWouldRefuse(string options)
    {
        Qemu.Require();
        string[] arguments = ["measure", "-U", "-O", "qcow2", "-o", options, Path.Combine(FixtureFiles.Root, "images/snapshots.qcow2")];
        ProcessResult theirs = await Qemu.ImgAsync(arguments);
        ProcessResult ours = await Support.Cli.RunAsync(arguments);
        Assert.Equal((0, theirs.Output, ""), (ours.ExitCode, ours.Output, ours.Error));
    }

    /// <summary>QEMU writes the first block of a file that it makes; so do we, and both measure the same.</summary>
    [Theory]
    [InlineData(true, "create -f raw @ 1M")]
    [InlineData(false, "create -f raw @ 1M")]
    [InlineData(true, "create -f file @ 1M")]
    [InlineData(true, "create -f raw @ 512")]
    [InlineData(true, "create -f raw @ 0")]
    [InlineData(true, "create -f raw -o preallocation=falloc @ 1M")]
    [InlineData(true, "create -f qcow2 -o data_file=@,data_file_raw=on @q 1M")]
    [InlineData(true, "create -f qcow2 -o data_file=@,preallocation=falloc @q 1M")]
    [InlineData(true, "convert -f raw -O raw @sparse @")]
    [InlineData(true, "convert -f raw -O raw -o preallocation=falloc @sparse @")]
    [InlineData(true, "resize -f raw @empty 1M")]
    [InlineData(true, "resize -f raw --preallocation=falloc @empty 1M")]
    [InlineData(true, "resize -f raw @sparse 2M")]
    public async Task WhatARawFileHasWhenItIsNew(bool inMemory, string commandLine)
    {
        Qemu.Require();
        using TempFolder folder = inMemory ? TempFolder.InMemory() : new TempFolder();
        async Task<string> MakeAsync(string who, Func<string[], Task> run)
        {
            string path = folder.File(who);
            using (FileStream sparse = File.Create(path + "sparse"))
            {
                sparse.SetLength(1 << 20);
            }

            await File.WriteAllBytesAsync(path + "empty", [], TestContext.Current.CancellationToken);
            string[] words = [.. commandLine.Split(' ').Select(word => word.Replace("@", path, StringComparison.Ordinal))];
            await run(words);
            string made = words[^1].Contains(who, StringComparison.Ordinal) ? path : words[^2].TrimEnd('q');
            string map = await Qemu.ImgOkAsync("map", "--output=json", "-f", "raw", made);
            return map + await Qemu.ImgOkAsync("measure", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4k", made)
                + await Support.Cli.OkAsync("measure", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4k", made);
        }

        string theirs = await MakeAsync("theirs", Qemu.ImgOkAsync);
        Assert.Equal(theirs, await MakeAsync("ours", Support.Cli.OkAsync));
    }

    [Theory]
    [InlineData("s1")]
    [InlineData("1")]
    [InlineData("snapshot.id=1")]
    [InlineData("snapshot.name=s1")]
    [InlineData("snapshot.id=1,snapshot.name=s1")]
    [InlineData("snapshot.id=s1")]
    [InlineData("snapshot.foo=1")]
    [InlineData("nosnap")]
    public async Task OfSnapshots(string snapshot)
    {
        Qemu.Require();
        string[] arguments = ["measure", "-U", "-l", snapshot, "-O", "qcow2", Path.Combine(FixtureFiles.Root, "images/snapshots.qcow2")];
        ProcessResult theirs = await Qemu.ImgAsync(arguments);
        ProcessResult ours = await Support.Cli.RunAsync(arguments);
        Assert.Equal((theirs.ExitCode, theirs.Output), (ours.ExitCode, ours.Output));
        Assert.Equal(
            theirs.Error.Replace("qemu-img: ", "", StringComparison.Ordinal),
            ours.Error.Replace("qcow2bitmaps: ", "", StringComparison.Ordinal));
    }
}
