using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain commit</c>: commits data and bitmaps of images into one below.</summary>
internal static class ChainCommitCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The topmost image to commit");
        Argument<string> @base = CommonOptions.File("BASE", "The image of TOP's chain that takes over");
        var active = new ActiveImage("The top of the whole chain, if that is not TOP: the image above TOP then names BASE");
        Option<bool> keep = CommonOptions.Flag("--keep", "Keep the committed images. Default: remove them once everything is durable");
        Option<bool> drop = CommonOptions.Flag("--drop-bitmaps", "Drop bitmaps that BASE cannot hold because it is raw or of version 2");
        var progress = new ChainProgress(output);
        var command = new Command(
            "commit",
            """
            Commit images with their bitmaps into an image below

            Each valid bitmap of TOP gets the bits of all committed images in BASE, and is
            added there if it is missing. Other recording bitmaps of BASE mark what is
            committed. BASE grows if it is smaller than TOP. Without --keep the committed
            images are removed.

            Bits are stored before data. If the commit is interrupted, run it again.
            """)
        {
            keep, drop,
        };
        active.AddTo(command);
        progress.AddTo(command);
        options.AddTo(command);
        command.Add(@base);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            bool keeps = parsed.GetValue(keep);
            string top = parsed.GetRequiredValue(options.Top);
            string activePath = active.Read(parsed) ?? top;
            bool isJson = options.IsJson(parsed);
            var how = new MergeOptions
            {
                TopPath = top,
                BasePath = parsed.GetRequiredValue(@base),
                KeepsImages = keeps,
                DropBitmaps = parsed.GetValue(drop),
            };
            if (!keeps
                && await ChainCommit.RemoveRestAsync(activePath, how, options.Read(parsed), cancellationToken) is { Count: > 0 } rest)
            {
                ChangeOutput.Write("The images were committed before; they are removed.", null, isJson, output, rest);
                return ExitCode.Success;
            }

            await using ChainCommit commit = await ChainCommit.OpenAsync(
                activePath, how, options.Read(parsed), cancellationToken: cancellationToken);
            messages.WarnOf(commit.Chain);
            if (!keeps && commit.ChangedSnapshots is [{ } kept, ..])
            {
                messages.Error(
                    $"{kept}, and would be removed with it. Copy out what is needed of them (convert -l) and "
                    + $"delete them (snapshot -d) first; nothing was written");
                return ExitCode.Error;
            }

            await active.RequireNoOthersAsync(parsed, commit, cancellationToken);
            ChainResult result = await progress.RunAsync(parsed, isJson, commit, messages, cancellationToken);
            IReadOnlyList<string> removed = keeps ? [] : await commit.RemoveCommittedAsync();
            ChangeOutput.Write("Images committed.", result, isJson, output, removed);
            return ExitCode.Success;
        });
        return command;
    }
}
