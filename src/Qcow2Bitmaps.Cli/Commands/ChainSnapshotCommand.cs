using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain snapshot</c>: an overlay that continues the bitmaps.</summary>
internal static class ChainSnapshotCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("ACTIVE", "The active image, the current top of its chain");
        Argument<string> overlay = CommonOptions.File("OVERLAY", "The image to create: a new file, or a block device");
        Option<string?> backing = CommonOptions.Value(
            "--backing-name", "The name of ACTIVE to store. Default: the file name if both are in one folder, else the full path", "NAME");
        var command = new Command(
            "snapshot",
            """
            Create an overlay that continues the bitmaps

            The overlay gets an empty recording bitmap for each recording, consistent
            bitmap of ACTIVE, so that the bitmaps stay valid. Cluster size, extended L2
            entries and size are those of ACTIVE. The overlay appears complete or not at
            all. ACTIVE is only read. A name given by --backing-name must lead to ACTIVE.
            """)
        {
            backing,
        };
        options.AddTo(command);
        command.Add(overlay);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            await using ChainSnapshot snapshot = await ChainSnapshot.OpenAsync(
                parsed.GetRequiredValue(options.Top), parsed.GetRequiredValue(overlay), parsed.GetValue(backing), options.Read(parsed),
                cancellationToken);
            messages.WarnOf(snapshot.Chain);
            await messages.WarnOfTruncationAsync(snapshot.Chain, withDataFiles: false, cancellationToken);
            ChainResult result = await snapshot.RunAsync(cancellationToken: cancellationToken);
            ChangeOutput.Write("Snapshot taken.", result.Bitmaps, result.Verdicts, options.IsJson(parsed), output);
            return ExitCode.Success;
        });
        return command;
    }
}
