using Qcow2Bitmaps.Cli.Options;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary><c>create</c> where it is not qemu-img's, and how numbers are read.</summary>
public sealed class CreateTests
{
    [Theory]
    [InlineData("-f qcow2 -o encryption=on x 1M", "Encryption is not supported")]
    [InlineData("-f qcow2 -o encrypt.format=luks x 1M", "Encryption is not supported")]
    [InlineData("-f qcow2 -o nocow=on x 1M", "nocow=on is not supported")]
    [InlineData("-f qcow2 -o extent_size_hint=1M x 1M", "An extent size hint is not supported")]
    [InlineData("-f qcow2 -o data_file= x 1M", "Expected data file name, got empty string")]
    [InlineData("-f raw -o preallocation=metadata x 1M", "Unsupported preallocation mode: metadata")]
    [InlineData("-f vmdk x 1M", "Images of format 'vmdk' cannot be made here; the formats are qcow2 and raw")]
    [InlineData("-f qcow2 -b nbd:there -F raw x 1M", "backing file 'nbd:there' names a protocol; only files are opened")]
    [InlineData("-f qcow2 -b fifo -F raw x 1M", "it is not a regular file or a block device")]
    public async Task WhatWeDoNotDo(string arguments, string message)
    {
        using var folder = new TempFolder();
        using (var mkfifo = System.Diagnostics.Process.Start("mkfifo", [folder.File("fifo")]))
        {
            await mkfifo.WaitForExitAsync(TestContext.Current.CancellationToken);
        }

        ProcessResult result = await RunAsync([.. arguments.Split(' ').Select(word => word == "x" ? folder.File("x") : word)]);

        Assert.Equal(1, result.ExitCode);
        Assert.Contains(message, result.Error, StringComparison.Ordinal);
        Assert.False(Path.Exists(folder.File("x")));
    }

    [Fact]
    public async Task AFileThatTheFileSystemCannotHold()
    {
        using var folder = new TempFolder();
        if (folder.HoldsFilesOf(7L << 60))
        {
            // A file system in memory has no limit that could be met.
            return;
        }

        ProcessResult result = await RunAsync(["-f", "raw", folder.File("x"), "8070450532247928833"]);

        Assert.Equal(1, result.ExitCode);
        Assert.Contains("the file system has no files of 8070450532247929344 bytes", result.Error, StringComparison.Ordinal);
        Assert.False(Path.Exists(folder.File("x")));
    }

    [Theory]
    [InlineData("", "Expecting image file name")]
    [InlineData("-f qcow2", "Expecting image file name")]
    [InlineData("x 1M 2M", "Unrecognized command or argument '2M'")]
    [InlineData("x -1", "unrecognized option '-1'")]
    [InlineData("-c x 1M", "unrecognized option '-c'")]
    public async Task WrongUsage(string arguments, string message)
    {
        ProcessResult result = await RunAsync(arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries));

        Assert.Equal(
            (1, $"qcow2bitmaps: {message}\nTry 'qcow2bitmaps create --help' for more information\n"), (result.ExitCode, result.Error));
    }

    [Fact]
    public async Task TheOptionsAreListed()
    {
        Qemu.Require();
        foreach (string format in new[] { "qcow2", "raw" })
        {
            string[] qemu = (await Qemu.ImgOkAsync("create", "-f", format, "-o", "help", "x")).Split('\n');
            ProcessResult ours = await RunAsync("-f", format, "-o", "cluster_size=4k,help", "x");

            Assert.Equal(0, ours.ExitCode);
            string[] added = [.. ours.Output.Split('\n').Except(qemu)];
            Assert.All(added, static line => Assert.Matches("^  (preallocation|keep_data_file)=", line));
            string[] missing = [.. qemu.Except(ours.Output.Split('\n'))];
            Assert.All(
                missing, static line => Assert.Matches(@"^  (preallocation|encrypt\.[a-z-]*|encryption|extent_size_hint|nocow)=", line));
        }

        Assert.StartsWith(
            "Supported qcow2 options:\n  backing_file=<str>     - File name of a base image\n",
            (await RunAsync("-f", "qcow2", "-o", "?")).Output, StringComparison.Ordinal);
        Assert.Equal(1, (await RunAsync("-f", "bogus", "-o", "help")).ExitCode);
    }

    [Fact]
    public async Task AnImageIsNotItsOwnBackingFile()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Identity is known on Linux only");
        using var folder = new TempFolder();
        string image = folder.Write("x", new TestImage().Build());
        File.CreateSymbolicLink(folder.File("link"), image);
        byte[] before = await File.ReadAllBytesAsync(image, TestContext.Current.CancellationToken);
        Assert.Equal(0, (await RunAsync("-q", "-f", "qcow2", "-b", "x", "-F", "qcow2", folder.File("overlay"))).ExitCode);

        foreach (string backing in new[] { "./x", "link", "overlay" })
        {
            ProcessResult result = await RunAsync("-f", "qcow2", "-b", backing, "-F", "qcow2", image);
            Assert.Equal(1, result.ExitCode);
            Assert.Contains("would be its own backing file", result.Error, StringComparison.Ordinal);
        }

        Assert.Equal(before, await File.ReadAllBytesAsync(image, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task FilesBelowTheBackingFileGoThroughTheGate()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Backing files are opened on Linux only");
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder.File("bases"));
        Directory.CreateDirectory(folder.File("layers"));
        Directory.CreateDirectory(folder.File("tops"));
        Assert.Equal(0, (await RunAsync("-q", "-f", "qcow2", folder.File("bases/base"), "3M")).ExitCode);
        Assert.Equal(0, (await RunAsync("-q", "-f", "qcow2", "-b", "../bases/base", "-F", "qcow2", folder.File("layers/layer"))).ExitCode);

        // Who names a file on the command line may name any; what a file names is another matter.
        ProcessResult refused = await RunAsync("-f", "qcow2", "-b", "../layers/layer", "-F", "qcow2", folder.File("tops/top"));
        ProcessResult allowed = await RunAsync(
            "-f", "qcow2", "-b", "../layers/layer", "-F", "qcow2", "--allow-backing", folder.File("bases"), folder.File("tops/top"));
        ProcessResult unopened = await RunAsync("-f", "qcow2", "-u", "-b", "../layers/layer", "-F", "qcow2", folder.File("tops/top"), "1M");

        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("outside the allowed folders", refused.Error, StringComparison.Ordinal);
        Assert.Contains("(--allow-backing DIR allows more)", refused.Error, StringComparison.Ordinal);
        Assert.Equal((0, 0), (allowed.ExitCode, unopened.ExitCode));
        Assert.Contains(" size=3145728 ", allowed.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task NamesAreHarmlessOnATerminal()
    {
        using var folder = new TempFolder();
        string path = folder.File("a\n\u001b[2Jb");

        Assert.Contains("'" + path + "'", (await RunAsync(path, "512")).Output, StringComparison.Ordinal);
        Assert.Contains(
            "a\\n\\x1b[2Jb'", (await Support.Cli.RunAsync(isTerminal: true, "create", path, "512")).Output, StringComparison.Ordinal);
        Assert.DoesNotContain("\u001b", (await RunAsync("-f", "qcow2", "-o", "a\u001b=1", path, "512")).Error, StringComparison.Ordinal);
        Assert.DoesNotContain(
            "\u001b", (await RunAsync("-f", "qcow2", "-o", "compat=\u001b", path, "512")).Error, StringComparison.Ordinal);
    }

    /// <summary>The expected values are what qemu-img 7.2 makes of the texts.</summary>
    [Theory]
    [InlineData("0", 0UL)]
    [InlineData("010", 10UL)]
    [InlineData("10b", 10UL)]
    [InlineData("10B", 10UL)]
    [InlineData(" +10k", 10240UL)]
    [InlineData("1.5M", 1572864UL)]
    [InlineData("1.M", 1048576UL)]
    [InlineData("1.0", 1UL)]
    [InlineData("0.1k", 102UL)]
    [InlineData("0.0005k", 1UL)]
    [InlineData("0.0004k", 0UL)]
    [InlineData("1.123456789012345678M", 1178030UL)]
    [InlineData("1.9999999999999999999M", 2097152UL)]
    [InlineData("0x10000", 65536UL)]
    [InlineData("0XaK", 10240UL)]
    [InlineData("0x10B", 267UL)]
    [InlineData("15E", 17293822569102704640UL)]
    [InlineData("18446744073709551615", ulong.MaxValue)]
    public void Sizes(string text, ulong bytes) =>
        Assert.Equal((NumberSyntax.Valid, bytes), (ByteCount.Parse(text, out ulong parsed), parsed));

    [Theory]
    [InlineData("", false)]
    [InlineData("-1", false)]
    [InlineData("1.5", false)]
    [InlineData(".5M", false)]
    [InlineData("1e3", false)]
    [InlineData("10 ", false)]
    [InlineData("1 k", false)]
    [InlineData("10GiB", false)]
    [InlineData("0x", false)]
    [InlineData("0x1.8k", false)]
    [InlineData("1.5.5k", false)]
    [InlineData("nan", false)]
    [InlineData("inf", false)]
    [InlineData("١k", false)]
    [InlineData("16E", true)]
    [InlineData("18446744073709551616", true)]
    [InlineData("99999999999999999999999999999999999999999999999999E", true)]
    public void NoSizes(string text, bool isOutOfRange) =>
        Assert.Equal(isOutOfRange ? NumberSyntax.OutOfRange : NumberSyntax.Invalid, ByteCount.Parse(text, out _));

    private static Task<ProcessResult> RunAsync(params string[] arguments) => Support.Cli.RunAsync(["create", .. arguments]);
}
