using System.CommandLine;
using System.CommandLine.Help;
using Qcow2Bitmaps.Cli.Commands;
using Qcow2Bitmaps.Cli.Output;

namespace Qcow2Bitmaps.Cli;

/// <summary>The tool's commands, and what becomes of errors.</summary>
internal static class CommandLine
{
    private const string ToolName = "qcow2bitmaps";

    public static async Task<int> InvokeAsync(string[] args)
    {
        var output = new ToolWriter(Console.OpenStandardOutput(), isTerminal: !Console.IsOutputRedirected);
        return await InvokeAsync(args, output, Console.Error);
    }

    /// <summary>Runs a command line; tests call it with writers of their own.</summary>
    public static async Task<int> InvokeAsync(string[] args, ToolWriter output, TextWriter error)
    {
        Command root = Build(output, error);
        ParseResult parsed = root.Parse(args);
        if (parsed.Errors.Count > 0 && parsed.Action is not HelpAction)
        {
            string message = parsed.UnmatchedTokens.Count > 0
                ? $"Unrecognized command or argument '{parsed.UnmatchedTokens[0]}'"
                : parsed.Errors[0].Message;
            error.WriteLine($"{ToolName}: {message}");
            error.WriteLine($"Try '{ToolName} {PathOf(parsed.CommandResult.Command)}--help' for more information");
            return ExitCode.Error;
        }

        try
        {
            var configuration = new InvocationConfiguration { EnableDefaultExceptionHandler = false, Error = error };
            int exitCode = await parsed.InvokeAsync(configuration);
            output.Flush();
            return exitCode;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // What was printed before the error stays: it is true as far as it goes.
            TryFlush(output);
            error.WriteLine($"{ToolName}: {e.Message}");
            return ExitCode.Error;
        }
        catch (OperationCanceledException)
        {
            error.WriteLine($"{ToolName}: interrupted");
            return ExitCode.Error;
        }
    }

    private static Command Build(ToolWriter output, TextWriter error)
    {
        var warnings = new WarningWriter(error, ToolName);
        var chain = new Command("chain", "Work on a backing chain as a whole.") { ChainCheckCommand.Create(output, warnings) };
        return new Command(
            ToolName,
            """
            Inspects qcow2 images, their persistent dirty bitmaps and their backing chains, without QEMU and without writing anything.

            Exit codes: 0 success; 1 error; 2 a bitmap is not valid over its chain.
            """)
        {
            new HelpOption { Recursive = true },
            new VersionOption(),
            InfoCommand.Create(output, warnings),
            ExtentsCommand.Create(output, warnings),
            chain,
        };
    }

    private static string PathOf(Command command)
    {
        var names = new Stack<string>();
        for (Command? at = command; at is not null && at.Parents.Any(); at = at.Parents.OfType<Command>().FirstOrDefault())
        {
            names.Push(at.Name);
        }

        return string.Concat(names.Select(static name => name + " "));
    }

    private static void TryFlush(ToolWriter output)
    {
        try
        {
            output.Flush();
        }
        catch (IOException)
        {
            // Standard output is what failed, perhaps a closed pipe: nobody reads on.
        }
    }
}
