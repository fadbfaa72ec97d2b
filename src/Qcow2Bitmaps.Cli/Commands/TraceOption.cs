using System.CommandLine;
using System.CommandLine.Parsing;
using Qcow2Bitmaps.Cli.Output;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>qemu-img's <c>-T</c> before the command. There are no trace events: the warning is qemu-img's for an unknown one.</summary>
internal static class TraceOption
{
    private const string Name = "-T";
    private const string Alias = "--trace";

    /// <summary>How many arguments stand before the command.</summary>
    public static int CountArguments(ReadOnlySpan<string> args)
    {
        int count = 0;
        while (count + 1 < args.Length && args[count] is Name or Alias)
        {
            count += 2;
        }

        return count;
    }

    public static Option<string[]> Create() => new(Name, Alias)
    {
        Description = "Accepted before the command, with a warning: there are no trace events. Repeatable",
        HelpName = "PATTERN",
    };

    public static void Warn(ParseResult parsed, MessageWriter messages)
    {
        foreach (Token pattern
            in parsed.RootCommandResult.Children.OfType<OptionResult>()
                .Where(static result => result.Option.Name is Name)
                .SelectMany(static result => result.Tokens))
        {
            messages.Warn($"trace event '{pattern.Value}' does not exist");
        }
    }
}
