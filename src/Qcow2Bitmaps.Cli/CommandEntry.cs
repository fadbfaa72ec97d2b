using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;

namespace Qcow2Bitmaps.Cli;

/// <summary>A command that is built when it is named, or when all are shown.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Create">Builds it, without its subcommands.</param>
internal sealed record CommandEntry(string Name, Func<ToolWriter, MessageWriter, Command> Create)
{
    public CommandEntry[] Subcommands { get; init; } = [];

    /// <summary>Whether a repeated option replaces the earlier one, as in qemu-img. Commands that it does not have refuse that.</summary>
    public bool LetsTheLastOneCount { get; init; }

    /// <summary>Builds it for arguments that start with its name; with all subcommands where they name none.</summary>
    public Command Build(ReadOnlySpan<string> args, ToolWriter output, MessageWriter messages)
    {
        Command command = Create(output, messages);
        ReadOnlySpan<string> rest = args.IsEmpty ? args : args[1..];
        foreach (CommandEntry entry in CommandTable.Select(Subcommands, rest))
        {
            command.Add(entry.Build(rest, output, messages));
        }

        if (LetsTheLastOneCount)
        {
            foreach (Option option in command.Options.Where(static option => option.Arity.MaximumNumberOfValues == 1))
            {
                option.AllowMultipleArgumentsPerToken = true;
            }
        }

        return command;
    }
}
