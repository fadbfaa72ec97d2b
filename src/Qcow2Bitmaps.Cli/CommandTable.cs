using System.CommandLine;
using Qcow2Bitmaps.Cli.Commands;

namespace Qcow2Bitmaps.Cli;

/// <summary>The commands in the order of the help.</summary>
internal static class CommandTable
{
    public static CommandEntry[] Verbs { get; } =
    [
        LikeQemu("create", CreateCommand.Create),
        LikeQemu("info", InfoCommand.Create),
        LikeQemu("check", CheckCommand.Create),
        LikeQemu("bitmap", BitmapCommand.Create),
        LikeQemu("map", MapCommand.Create),
        LikeQemu("compare", CompareCommand.Create),
        LikeQemu("convert", ConvertCommand.Create),
        LikeQemu("snapshot", SnapshotCommand.Create),
        LikeQemu("resize", ResizeCommand.Create),
        LikeQemu("measure", MeasureCommand.Create),
        LikeQemu("commit", CommitCommand.Create),
        LikeQemu("rebase", static (output, messages) => ChainRebaseCommand.Create(output, messages, tells: false)),
        new("extents", ExtentsCommand.Create),
        new("qmp", static (_, messages) => QmpCommand.Create(messages)),
        new("chain", static (_, _) => new Command("chain", "Check, change and measure backing chains with their bitmaps"))
        {
            Subcommands =
            [
                new("check", ChainCheckCommand.Create),
                new("snapshot", ChainSnapshotCommand.Create),
                new("commit", ChainCommitCommand.Create),
                new("pull", ChainPullCommand.Create),
                new("rebase", static (output, messages) => ChainRebaseCommand.Create(output, messages, tells: true)),
                new("flatten", ChainFlattenCommand.Create),
                new("populate", ChainBitmapCommands.CreatePopulate),
                new("delete", ChainBitmapCommands.CreateDelete),
                new("prune", ChainBitmapCommands.CreatePrune),
                new("reconcile", ChainReconcileCommand.Create),
                new("measure", ChainMeasureCommand.Create),
            ],
        },
        new("backup", static (_, _) => new Command("backup", "Take, verify, restore and list backups of disks that are not in use"))
        {
            Subcommands =
            [
                new("full", BackupTakeCommand.CreateFull),
                new("incremental", BackupTakeCommand.CreateIncremental),
                new("adopt", BackupAdoptCommand.Create),
                new("verify", BackupVerifyCommand.Create),
                new("restore", BackupRestoreCommand.Create),
                new("list", BackupListCommand.Create),
            ],
        },
    ];

    /// <summary>The command that the first argument names; all where it names none.</summary>
    public static ReadOnlySpan<CommandEntry> Select(CommandEntry[] entries, ReadOnlySpan<string> args)
    {
        string? name = args.IsEmpty ? null : args[0];
        int index = Array.FindIndex(entries, entry => string.Equals(entry.Name, name, StringComparison.Ordinal));
        return index < 0 ? entries : entries.AsSpan(index, 1);
    }

    private static CommandEntry LikeQemu(string name, Func<Output.ToolWriter, Output.MessageWriter, Command> create) =>
        new(name, create) { LetsTheLastOneCount = true };
}
