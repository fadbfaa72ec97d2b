using System.CommandLine;
using Qcow2Bitmaps.Cli;
using Qcow2Bitmaps.Cli.Output;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Runs the tool: in this process, unless a native file is tested.</summary>
internal static class Cli
{
    /// <summary>All commands, which write nowhere.</summary>
    public static Command Root()
    {
        var output = new ToolWriter(Stream.Null, isTerminal: false);
        return CommandLine.Build(output, new MessageWriter(output, TextWriter.Null));
    }

    public static Task<ProcessResult> RunAsync(params string[] arguments) =>
        Tool.IsNative ? Tool.RunAsync(null, arguments) : RunAsync(isTerminal: false, arguments);

    /// <summary>Runs the tool in this process, on a terminal or not, and where its calls of the system are watched.</summary>
    public static async Task<ProcessResult> RunAsync(bool isTerminal, params string[] arguments)
    {
        using var stream = new MemoryStream();
        using var error = new StringWriter();
        int exitCode = await CommandLine.InvokeAsync(arguments, new ToolWriter(stream, isTerminal), error);
        return new ProcessResult(exitCode, stream.ToArray(), error.ToString());
    }

    /// <summary>Runs the tool, which must succeed.</summary>
    /// <returns>What it printed.</returns>
    public static async Task<string> OkAsync(params string[] arguments)
    {
        ProcessResult result = await RunAsync(arguments);
        Assert.True(result.ExitCode == 0, $"{string.Join(' ', arguments)}: {result.Error}");
        return result.Output;
    }
}
