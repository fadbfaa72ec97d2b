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
    [InlineData("chain check --profile xen x", "Cannot parse argument 'xen'", "Try 'qcow2bitmaps chain check --help'")]
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
        Assert.Contains("allowed: 0x514649fb [header-magic]", result.Error, StringComparison.Ordinal);
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
