using System.CommandLine;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain commit</c>: data and bitmaps of images become those of one below.</summary>
internal static class ChainCommitCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The topmost image to commit");
        Argument<string> @base = CommonOptions.File("BASE", "The image of TOP's chain that takes all");
        var active = new ActiveImage("The top of the whole chain, where TOP is not: the image above TOP names BASE afterwards");
        var keep = new Option<bool>("--keep")
        {
            Arity = ArgumentArity.Zero,
            Description = "Keep the committed images; else their files are removed once all is durable",
        };
        var drop = new Option<bool>("--drop-bitmaps")
        {
            Arity = ArgumentArity.Zero,
            Description = "Let bitmaps be lost that BASE cannot hold, as it is raw or of version 2, instead of refusing",
        };
        var progress = new ChainProgress(output);
        var command = new Command(
            "commit",
            """
            Commit images to one below them: their data, and their bitmaps.

            Each valid bitmap of TOP is made in BASE where it is absent, and gets the bits of all committed images; other
            recording bitmaps of BASE get what is committed.
            BASE grows where it is smaller. Bits are stored before data: a commit that was stopped is run again.
            Without --keep the committed images are removed.
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
                        .FirstOrDefault(static layer => layer.Image is { Snapshots.Count: > 0 }) is { } kept)
                {
                    messages.Error(
                        $"{new ChangedSnapshots(kept)}, and would be removed with it. Copy out what is needed of them (convert -l) and "
                        + $"delete them (snapshot -d) first; nothing was written");
                    return ExitCode.Error;
                }

                // With --keep what is above TOP sees the same.
                await active.RequireNoOthersAsync(
                    parsed, chain, Enumerable.Range(top, target - top + 1).Where(index => index != top || !parsed.GetValue(keep)),
                    cancellationToken);
                // From the bottom up: those that are left after a stop are found from TOP.
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
                    parsed, isJson, chain, steps => ChainCommit.RunAsync(chain, top, target, how, steps, cancellationToken),
                    cancellationToken);
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

    /// <summary>Removes committed images. The commit is done: what fails is told.</summary>
    /// <returns>Those that are removed, by the names that they had.</returns>
    private static List<string> RemoveDone(IReadOnlyList<string> committed, bool isMarked, MessageWriter messages)
    {
        string top = committed.Count == 0 ? "" : committed[^1];
        // From here on it is done: run again, it copies nothing over what may be written to the base by then.
        if (isMarked && !Leftovers.Tidy(
            $"The images are committed, but not removed: '{top}' could not be renamed to '{CommitRemains.DonePathOf(top)}'",
            () => CommitRemains.MarkDone(top)))
        {
            return [];
        }

        // Those that are left are found from the topmost one: where one stays, so do all above it.
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
