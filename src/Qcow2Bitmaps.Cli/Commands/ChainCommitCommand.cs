using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;

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
            string topPath = parsed.GetRequiredValue(options.Top);
            string basePath = parsed.GetRequiredValue(@base);
            string activePath = active.Read(parsed) ?? topPath;
            ChainResult result;
            IReadOnlyList<string> committed;
            bool isMarked;
            if (!parsed.GetValue(keep))
            {
                committed = await CommitRemains.FindAsync(active.Read(parsed), topPath, basePath, options.Read(parsed), cancellationToken);
                if (committed.Count > 0)
                {
                    foreach (string path in committed)
                    {
                        Remove(path, messages);
                    }

                    ChangeOutput.Write(
                        "The images were committed before; they are removed.", new ChainResult([], 0), options.IsJson(parsed), output,
                        committed);
                    return ExitCode.Success;
                }
            }

            await using (ImageChain chain = await ChainAccess.OpenAsync(
                activePath, options.Read(parsed),
                look => ChainCommit.WritableLayers(look, ChainPlace.Find(look, topPath), RequireBelow(look, topPath, basePath)),
                cancellationToken))
            {
                messages.WarnOf(chain);
                int top = ChainPlace.Find(chain, topPath);
                int target = ChainPlace.Find(chain, basePath);
                if (!parsed.GetValue(keep)
                    && chain.Layers.Skip(top)
                        .Take(target - top)
                        .FirstOrDefault(static layer => layer is Qcow2Layer { Image.Snapshots.Count: > 0 }) is { } kept)
                {
                    messages.Error(
                        $"{new ChangedSnapshots(kept)}, and would be removed with it. Copy out what is needed of them (convert -l) and "
                        + $"delete them (snapshot -d) first; nothing was written");
                    return ExitCode.Error;
                }

                // With --keep the images above TOP read the same data.
                await active.RequireNoOthersAsync(
                    parsed, chain, Enumerable.Range(top, target - top + 1).Where(index => index != top || !parsed.GetValue(keep)),
                    cancellationToken);
                // From the bottom up: after an interruption the remaining ones are found from TOP.
                committed = [.. chain.Layers.Skip(top)
                    .Take(target - top)
                    .Reverse()
                    .Where(static layer => !layer.IsFixedSize)
                    .Select(static layer => layer.Path)];
                // A block device keeps its name, and is not removed.
                isMarked = !chain.Layers[top].IsFixedSize;
                var how = new CommitOptions { DropBitmaps = parsed.GetValue(drop) };
                bool isJson = options.IsJson(parsed);
                await progress.ForetellAsync(
                    parsed, isJson, messages,
                    async () =>
                        (await ChainMeasurement.OfCommitAsync(chain, top, target, how, MeasureDepth.Bitmaps, cancellationToken)).Forecast);
                result = await progress.RunAsync(
                    parsed, isJson, chain, steps => ChainCommit.RunAsync(chain, top, target, how, steps, cancellationToken));
            }

            if (!parsed.GetValue(keep))
            {
                committed = RemoveDone(committed, isMarked, messages);
            }

            ChangeOutput.Write("Images committed.", result, options.IsJson(parsed), output, parsed.GetValue(keep) ? [] : committed);
            return ExitCode.Success;
        });
        return command;
    }

    /// <summary>Removes committed images. The commit is done: failures are only reported.</summary>
    /// <returns>Those that are removed, by the names that they had.</returns>
    private static List<string> RemoveDone(IReadOnlyList<string> committed, bool isMarked, MessageWriter messages)
    {
        string top = committed.Count == 0 ? "" : committed[^1];
        // From here on the commit is done: a rerun must not copy over later writes to the base.
        if (isMarked && !Leftovers.Tidy(
            $"The images are committed, but not removed: '{top}' could not be renamed to '{CommitRemains.DonePathOf(top)}'",
            () => CommitRemains.MarkDone(top)))
        {
            return [];
        }

        // The remaining images are found from the topmost one: if one cannot be removed, keep all above it.
        return [.. committed.TakeWhile(path =>
        {
            string now = isMarked && string.Equals(path, top, StringComparison.Ordinal) ? CommitRemains.DonePathOf(top) : path;
            return Leftovers.Tidy(
                $"The images are committed, but '{now}' is not removed; the same command again removes what is left",
                () => Remove(now, messages));
        })];
    }

    private static void Remove(string path, MessageWriter messages)
    {
        if (CommitRemains.Remove(path) is { } target)
        {
            messages.Warn($"'{path}' was a symbolic link and is removed; the committed image that it led to, '{target}', is kept");
        }
    }

    public static int RequireBelow(ImageChain chain, string topPath, string basePath)
    {
        int target = ChainPlace.Find(chain, basePath);
        return target > ChainPlace.Find(chain, topPath)
            ? target
            : throw IOException.Of($"'{basePath}' does not lie below '{topPath}'");
    }
}
