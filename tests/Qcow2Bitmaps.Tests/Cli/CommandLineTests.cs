using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>Wrong usage and failing output end with a message and exit code 1.</summary>
public sealed class CommandLineTests
{
    [Theory]
    [InlineData("", "Required command was not provided.", "Try 'qcow2bitmaps --help'")]
    [InlineData("bogus", "Unrecognized command or argument 'bogus'", "Try 'qcow2bitmaps --help'")]
    [InlineData("info", "Required argument missing for command: 'info'.", "Try 'qcow2bitmaps info --help'")]
    [InlineData("info --output xml x", "--output must be used with human or json as argument.", "Try 'qcow2bitmaps info --help'")]
    [InlineData("info -f vmdk x", "Unknown driver 'vmdk'", "Try 'qcow2bitmaps info --help'")]
    [InlineData("info x y", "Unrecognized command or argument 'y'", "Try 'qcow2bitmaps info --help'")]
    [InlineData("extents x", "Required argument missing for command: 'extents'.", "Try 'qcow2bitmaps extents --help'")]
    [InlineData(
        "chain check --profile xen x", "--profile must be used with libvirt or ovirt as argument.",
        "Try 'qcow2bitmaps chain check --help'")]
    [InlineData(
        "chain check --profile 7 x", "--profile must be used with libvirt or ovirt as argument.", "Try 'qcow2bitmaps chain check --help'")]
    [InlineData("info --bogus", "unrecognized option '--bogus'", "Try 'qcow2bitmaps info --help'")]
    [InlineData("info --bogus x", "unrecognized option '--bogus'", "Try 'qcow2bitmaps info --help'")]
    [InlineData("info -t x", "unrecognized option '-t'", "Try 'qcow2bitmaps info --help'")]
    public async Task WrongUsage(string arguments, string message, string hint)
    {
        ProcessResult result = await Support.Cli.RunAsync(arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries));

        Assert.Equal(1, result.ExitCode);
        Assert.Empty(result.Output);
        Assert.StartsWith($"qcow2bitmaps: {message}", result.Error, StringComparison.Ordinal);
        Assert.Contains(hint, result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AFileThatIsNoImageOfTheStatedFormat()
    {
        string raw = FixtureIndex.Images.Single(static f => f.RelativePath == "images/plain.raw").Path;

        ProcessResult result = await Support.Cli.RunAsync("info", "-f", "qcow2", raw);

        Assert.Equal(1, result.ExitCode);
        Assert.StartsWith($"qcow2bitmaps: '{raw}': header: magic at offset 0x0 is ", result.Error, StringComparison.Ordinal);
        Assert.Contains("allowed: 0x514649fb: this is no qcow2 image [header-magic]", result.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("absent")]
    [InlineData("-dash")]
    [InlineData("@absent")]
    public async Task AFileThatIsNotThere(string path)
    {
        foreach (string[] command in new string[][] { ["info", "--", path], ["extents", "--", path, "a"], ["chain", "check", "--", path] })
        {
            ProcessResult result = await Support.Cli.RunAsync(command);

            Assert.Equal((1, $"qcow2bitmaps: Could not open '{path}': No such file or directory\n"), (result.ExitCode, result.Error));
        }
    }

    [Fact]
    public async Task BehindTwoDashesAnyWordIsAName()
    {
        using var folder = new TempFolder();
        string image = folder.Write("true", new TestImage().WithBitmap("--chain", bits: [1]).Build());

        Assert.Equal(0, (await Support.Cli.RunAsync("extents", image, "--chain", "--", "--chain")).ExitCode);
        Assert.Equal(0, (await Support.Cli.RunAsync("extents", "-f", "qcow2", image, "--", "--chain")).ExitCode);
        // A flag takes no value: the next word is the file.
        Assert.Contains("Could not open 'true'", (await Support.Cli.RunAsync("info", "-U", "true")).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task NoFileIsReadForArguments()
    {
        using var folder = new TempFolder();
        string arguments = folder.Write("arguments", "--output json"u8.ToArray());

        ProcessResult result = await Support.Cli.RunAsync("info", "@" + arguments);

        Assert.Equal((1, $"qcow2bitmaps: Could not open '@{arguments}': No such file or directory\n"), (result.ExitCode, result.Error));
    }

    /// <summary>Standard output and standard error into one place: what was said first comes first.</summary>
    [Theory]
    [InlineData("create -f qcow2 -o cluster_size=3 @x 1M", "Formatting ", "Cluster size must be a power of two")]
    [InlineData("create -f raw -o nocow=on @x 1M", "Formatting ", "nocow=on is not supported")]
    [InlineData("create -f qcow2 @missing/x 1M", "Formatting ", "No such file or directory")]
    [InlineData("check -r all @leaking", "The following inconsistencies were found and repaired", "Double checking")]
    [InlineData("compare -p @small @broken", "(0.00/100%)", "qcow2bitmaps: ")]
    [InlineData("convert -p -O raw @broken @x", "(0.00/100%)", "qcow2bitmaps: ")]
    [InlineData("map @broken", "Offset ", "qcow2bitmaps: ")]
    public async Task ErrorsComeAfterWhatWasPrintedBefore(string commandLine, string printed, string error)
    {
        using var folder = new TempFolder();
        folder.Write("small", new TestImage().Build());
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", folder.File("broken"), "1M");
        byte[] broken = await File.ReadAllBytesAsync(folder.File("broken"), TestContext.Current.CancellationToken);
        long l1 = System.Buffers.Binary.BinaryPrimitives.ReadInt64BigEndian(broken.AsSpan(40));
        // A table that does not start at a cluster.
        broken[l1 + 6] = 2;
        folder.Write("broken", broken);
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", folder.File("leaking"), "1M");
        byte[] leaking = await File.ReadAllBytesAsync(folder.File("leaking"), TestContext.Current.CancellationToken);
        leaking[0x20000 + (2 * 3) + 1]++;
        folder.Write("leaking", leaking);
        using var both = new MemoryStream();
        var errors = new StreamWriter(both, leaveOpen: true) { AutoFlush = true };

        await Qcow2Bitmaps.Cli.CommandLine.InvokeAsync(
            [.. commandLine.Split(' ').Select(word => word.Replace("@", folder.Path + "/", StringComparison.Ordinal))],
            new Qcow2Bitmaps.Cli.Output.ToolWriter(both, isTerminal: false), errors);

        string text = System.Text.Encoding.UTF8.GetString(both.ToArray());
        int first = text.IndexOf(printed, StringComparison.Ordinal);
        Assert.True(first >= 0 && text.IndexOf(error, StringComparison.Ordinal) > first, text);
    }

    [Fact]
    public async Task AnOutputThatFailsIsToldBesideTheError()
    {
        using var folder = new TempFolder();
        using var error = new StringWriter();
        var output = new Qcow2Bitmaps.Cli.Output.ToolWriter(new FullStream(), isTerminal: false);

        int exitCode = await Qcow2Bitmaps.Cli.CommandLine.InvokeAsync(
            ["create", "-f", "qcow2", "-o", "cluster_size=3", folder.File("x"), "1M"], output, error);

        Assert.Equal(1, exitCode);
        Assert.Contains("Cluster size must be a power of two", error.ToString(), StringComparison.Ordinal);
        Assert.Contains("No space left", error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ErrorsThatCannotBeWrittenLeaveTheExitCode()
    {
        var error = new StreamWriter(new FullStream());
        using var stream = new MemoryStream();
        var output = new Qcow2Bitmaps.Cli.Output.ToolWriter(stream, isTerminal: false);

        Assert.Equal(1, await Qcow2Bitmaps.Cli.CommandLine.InvokeAsync(["info", "absent"], output, error));
        Assert.Equal(1, await Qcow2Bitmaps.Cli.CommandLine.InvokeAsync(["bogus"], output, error));
    }

    [Fact]
    public async Task NamesOnTheCommandLineNeedNotBeUtf8()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Arguments are bytes on Linux");
        using var folder = new TempFolder();
        string image = folder.Write(
            "a.qcow2", new TestImage().WithBitmap([0xff, (byte)'b'], 12, BitmapFlags.Auto, [1]).Build());
        string tool = Path.Combine(AppContext.BaseDirectory, "Qcow2Bitmaps.Cli.dll");

        ProcessResult result = await Qemu.RunAsync(
            "bash", folder.Path, "-c", $"exec dotnet '{tool}' extents --output json '{image}' $'\\xffb'");

        Assert.Equal(0, result.ExitCode);
        Assert.Contains("\"dirty-count\": 1", result.Output, StringComparison.Ordinal);
        Assert.Contains("\"bitmap\": \"\\uFFFDb\"", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AReaderThatHasEnoughIsNoError()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Pipes as Linux has them");
        string tool = Path.Combine(AppContext.BaseDirectory, "Qcow2Bitmaps.Cli.dll");

        ProcessResult result = await Qemu.RunAsync("bash", null, "-c", $"dotnet '{tool}' info '{FixtureIndex.Images[0].Path}' | true");

        Assert.Equal("", result.Error);
    }

    [Fact]
    public async Task ATerminalGetsNothingButTheOutput()
    {
        ProcessResult result = await Qemu.RunAsync(
            "script", null, "-qc", $"dotnet '{Path.Combine(AppContext.BaseDirectory, "Qcow2Bitmaps.Cli.dll")}' --version", "/dev/null");

        Assert.Equal(0, result.ExitCode);
        Assert.Matches(@"^\d+\.\d+\.\d+\r\n$", result.Output);
    }

    [Fact]
    public async Task OutputThatCannotBeWrittenIsAnError()
    {
        using var error = new StringWriter();
        var output = new Qcow2Bitmaps.Cli.Output.ToolWriter(new FullStream(), isTerminal: false);

        int exitCode = await Qcow2Bitmaps.Cli.CommandLine.InvokeAsync(["info", FixtureIndex.Images[0].Path], output, error);

        Assert.Equal(1, exitCode);
        Assert.Contains("No space left", error.ToString(), StringComparison.Ordinal);
    }
}
