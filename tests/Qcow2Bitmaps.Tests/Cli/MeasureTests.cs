using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>measure beside qemu-img's.</summary>
public sealed class MeasureTests
{
    public static TheoryData<string> Fixtures =>
        [.. Directory.EnumerateFiles(FixtureFiles.Root, "*.qcow2", SearchOption.AllDirectories)
            .Select(static path => Path.GetRelativePath(FixtureFiles.Root, path))
            .Where(static path => !path.Contains("luks", StringComparison.Ordinal) && !path.Contains("aes", StringComparison.Ordinal) && !path.Contains("missing", StringComparison.Ordinal) && !path.Contains("escaping", StringComparison.Ordinal))
            .Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Fixtures))]
    public async Task OfEveryFixture(string relativePath)
    {
        Qemu.Require();
        string path = Path.Combine(FixtureFiles.Root, relativePath);
        foreach (string[] options in new[] { ["-O", "qcow2"], ["-O", "raw"], ["-O", "qcow2", "-o", "cluster_size=4k,refcount_bits=1"], new[] { "-O", "qcow2", "-o", "compat=0.10", "--output=json" } })
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
    public async Task OfEmptyDisksAndMistakes(params string[] arguments)
    {
        Qemu.Require();
        ProcessResult theirs = await Qemu.ImgAsync(["measure", .. arguments]);
        ProcessResult ours = await Support.Cli.RunAsync(["measure", .. arguments]);
        Assert.Equal((theirs.ExitCode, theirs.Output), (ours.ExitCode, ours.Output));
        Assert.Equal(theirs.Error.Replace("qemu-img: ", "", StringComparison.Ordinal), ours.Error.Replace("qcow2bitmaps: ", "", StringComparison.Ordinal));
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
        Assert.Equal(theirs.Error.Replace("qemu-img: ", "", StringComparison.Ordinal), ours.Error.Replace("qcow2bitmaps: ", "", StringComparison.Ordinal));
    }
}
