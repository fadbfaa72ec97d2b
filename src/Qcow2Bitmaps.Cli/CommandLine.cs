using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using System.Text;
using Qcow2Bitmaps.Cli.Commands;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli;

/// <summary>Parses the command line, runs a command, and reports errors.</summary>
internal static class CommandLine
{
    // A file name may start with '@': it must not be read as a list of arguments.
    private static readonly ParserConfiguration s_configuration = new() { ResponseFileTokenReplacer = null };

    public static Task<int> InvokeAsync(string[] args)
    {
        var error = new StreamWriter(StandardStreams.OpenError(), new UTF8Encoding(encoderShouldEmitUTF8Identifier: false));
        return InvokeAsync(args, new ToolWriter(StandardStreams.OpenOutput(), StandardStreams.IsOutputTerminal), error);
    }

    /// <summary>Runs a command line. Tests call it with their own writers.</summary>
    public static async Task<int> InvokeAsync(string[] args, ToolWriter output, TextWriter error)
    {
        var messages = new MessageWriter(output, error);
        args = ResizeCommand.WithSizeAsArgument(args);
        ParseResult parsed = Build(args, output, messages).Parse(args, s_configuration);
        SummarizeCommands(parsed);
        if (UsageError(parsed, args) is { } usageError)
        {
            messages.Error(usageError);
            messages.WriteLine($"Try '{MessageWriter.ToolName} {PathOf(parsed.CommandResult.Command)}--help' for more information");
            return ExitCode.Error;
        }

        TraceOption.Warn(parsed, messages);
        try
        {
            using IDisposable leftovers = Leftovers.TellTo(lines => messages.Warn(lines));
            using var help = new StringWriter();
            var configuration = new InvocationConfiguration
            {
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = null,
                Output = help,
                Error = error,
            };
            int exitCode = await parsed.InvokeAsync(configuration);
            output.Write(help.ToString());
            output.Flush();
            return exitCode;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            messages.Error(RemedyText.Describe(e));
            return ExitCode.Error;
        }
        catch (OperationCanceledException)
        {
            messages.Error("interrupted");
            return ExitCode.Error;
        }
    }

    /// <summary>The error in the command line; null if there is none, or if help is requested.</summary>
    private static string? UsageError(ParseResult parsed, string[] args)
    {
        if (parsed.Action is HelpAction)
        {
            return null;
        }

        // The parser takes an unknown option as an argument. Only behind "--" that is intended.
        int end = Array.IndexOf(args, "--");
        ParseResult before = end < 0 ? parsed : parsed.RootCommandResult.Command.Parse(args[..end], s_configuration);
        string? unknown = before.CommandResult.Children.OfType<ArgumentResult>().SelectMany(static argument => argument.Tokens)
            .Select(static token => token.Value).FirstOrDefault(static value => value.Length > 1 && value[0] == '-');
        return unknown is not null ? PrintableMessage.Of($"unrecognized option '{unknown}'")
            : parsed.UnmatchedTokens.Count > 0 ? PrintableMessage.Of($"Unrecognized command or argument '{parsed.UnmatchedTokens[0]}'")
            : parsed.Errors.Count > 0 ? ImageText.Escape(parsed.Errors[0].Message)
            : null;
    }

    /// <summary>All commands with their options; the reference in <c>docs/cli.md</c> is written from it.</summary>
    public static Command Build(ToolWriter output, MessageWriter messages) => Build([], output, messages);

    /// <summary>As the other method, without commands that the arguments do not name: to build all costs more than most.</summary>
    private static Command Build(ReadOnlySpan<string> args, ToolWriter output, MessageWriter messages)
    {
        var root = new Command(
            MessageWriter.ToolName,
            """
            Work on qcow2 images, their persistent dirty bitmaps and backing chains

            Exit codes: 0 success; 1 error; 2 a bitmap is not valid over its chain. The help
            of a command lists others. 'qcow2bitmaps COMMAND --help' shows the details.
            """)
        {
            new HelpOption { Recursive = true },
            new VersionOption("--version", "-V"),
            TraceOption.Create(),
        };
        args = args[Math.Min(TraceOption.CountArguments(args), args.Length)..];
        foreach (CommandEntry entry in CommandTable.Select(CommandTable.Verbs, args))
        {
            root.Add(entry.Build(args, output, messages));
        }

        return root;
    }

    /// <summary>A list of commands shows the first line of each description; the command's own help shows all of it.</summary>
    private static void SummarizeCommands(ParseResult parsed)
    {
        if (parsed.Action is HelpAction)
        {
            foreach (Command command in parsed.CommandResult.Command.Subcommands)
            {
                command.Description = command.Description?.Split('\n')[0];
            }
        }
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
}
