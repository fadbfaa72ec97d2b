using Qcow2Bitmaps.Cli;
using Qcow2Bitmaps.Cli.Output;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Runs the tool in this process.</summary>
internal static class Cli
{
    public static Task<ProcessResult> RunAsync(params string[] arguments) => RunAsync(isTerminal: false, arguments);

    public static async Task<ProcessResult> RunAsync(bool isTerminal, params string[] arguments)
    {
        using var stream = new MemoryStream();
        using var error = new StringWriter();
        int exitCode = await CommandLine.InvokeAsync(arguments, new ToolWriter(stream, isTerminal), error);
        return new ProcessResult(exitCode, stream.ToArray(), error.ToString());
    }
}
