using System.CommandLine;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain snapshot</c>: an overlay that goes on recording.</summary>
internal static class ChainSnapshotCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("ACTIVE", "The active image, the top of its chain so far");
        Argument<string> overlay = CommonOptions.File("OVERLAY", "The image to make: a file that does not exist, or a block device");
        var backing = new Option<string?>("--backing-name")
        {
            Description = "ACTIVE's name as OVERLAY is to store it, which has to lead to ACTIVE. Without it the file's name where both lie "
                + "in one folder, else its whole path",
            HelpName = "NAME",
        };
        var command = new Command(
            "snapshot",
            """
            Make an overlay on top of a chain, with an empty recording bitmap for every bitmap of ACTIVE that records and is consistent.

            So bitmaps stay valid over an offline snapshot. Cluster size, extended L2 entries and size are ACTIVE's. The overlay
            appears whole or not at all; ACTIVE is only read.
            """)
        {
            backing,
        };
        options.AddTo(command);
        command.Add(overlay);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string overlayPath = parsed.GetRequiredValue(overlay);
            await using ImageChain chain = await ImageChain.OpenAsync(
                parsed.GetRequiredValue(options.Top), options.Read(parsed), cancellationToken);
            messages.WarnOf(chain);
            await messages.WarnOfTruncationAsync(chain, withDataFiles: false, cancellationToken);
            ChainResult result = await ChainSnapshot.CreateAsync(chain, overlayPath, parsed.GetValue(backing), cancellationToken);
            ChangeOutput.Write("Snapshot taken.", result.Bitmaps, result.Verdicts, options.IsJson(parsed), output);
            return ExitCode.Success;
        });
        return command;
    }
}
