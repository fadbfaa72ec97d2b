using System.Text;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>Runs the commands of a block in one shell, in which the tool is a command.</summary>
internal static class ConsoleSession
{
    private const string Prompt = "$ ";
    private const char Separator = '\u001e';

    /// <summary>Runs a block.</summary>
    /// <returns>The lines that the block should hold: each command, and what it printed to either stream.</returns>
    public static async Task<IReadOnlyList<string>> RunAsync(CodeBlock block, string folder)
    {
        string[] commands = [.. block.Lines.Where(static line => line.StartsWith(Prompt, StringComparison.Ordinal))
            .Select(static line => line[Prompt.Length..])];
        Assert.True(
            commands.Length > 0 && block.Lines[0].StartsWith(Prompt, StringComparison.Ordinal), "a console block starts with a command");
        // The command that builds the tool first is run with the tool that is built; the exit code is that
        // of the command, for the next one to show.
        var script = new StringBuilder(
            $$"""
            exec 2>&1
            qcow2bitmaps() { {{Tool.ShellCommand}} "$@"; }
            dotnet() { [ "$1 $2 $3 $4" = "run --project src/Qcow2Bitmaps.Cli --" ] && shift 4 && qcow2bitmaps "$@"; }

            """);
        foreach (string command in commands)
        {
            script.Append(command).Append("\n_status=$?; printf '\\036'; (exit $_status)\n");
        }

        ProcessResult result = await Qemu.RunAsync("bash", folder, "-c", script.ToString());
        string[] outputs = result.Output.Split(Separator);
        Assert.True(outputs.Length == commands.Length + 1, result.Output);
        return [.. commands.SelectMany((command, i) => LinesOf(outputs[i]).Prepend(Prompt + command))];
    }

    private static string[] LinesOf(string output) => output.Length == 0 ? [] : output.TrimEnd('\n').Split('\n');
}
