using System.CommandLine;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain delete</c>, <c>chain prune</c> and <c>chain populate</c>: bitmaps in all images of a chain.</summary>
internal static class ChainBitmapCommands
{
    public static Command CreateDelete(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The top image");
        var names = new Argument<string[]>("BITMAP") { Description = "The bitmaps to remove", Arity = ArgumentArity.OneOrMore };
        var progress = new ChainProgress(output);
        var command = new Command("delete", "Remove bitmaps from every image of a chain that holds them, from the top down.");
        progress.AddTo(command);
        options.AddTo(command);
        command.Add(names);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string[] wanted = parsed.GetRequiredValue(names);
            await using ImageChain chain = await ChainAccess.OpenAsync(
                parsed.GetRequiredValue(options.Top), options.Read(parsed), look => ChainBitmaps.Holders(look, wanted), cancellationToken);
            messages.WarnOf(chain);
            await progress.ForetellAsync(
                parsed, options.IsJson(parsed), messages, () => ChainMeasurement.OfDeleteAsync(chain, wanted, cancellationToken));
            IReadOnlyList<BitmapChange> changes = await ChainBitmaps.DeleteAsync(chain, wanted, cancellationToken);
            ChangeOutput.Write("Bitmaps removed.", changes, [], options.IsJson(parsed), output);
            return ExitCode.Success;
        });
        return command;
    }

    public static Command CreatePrune(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The top image");
        var keep = new Option<string[]>("--keep")
        {
            Description = "Keep this bitmap, valid or not, and remove all that are not named so. May be repeated",
            HelpName = "NAME",
        };
        var command = new Command(
            "prune",
            "Remove from every image of a chain the bitmaps that are not valid over it, or all but those that are to be kept.") { keep };
        var progress = new ChainProgress(output);
        progress.AddTo(command);
        options.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            ChainOpenOptions open = options.Read(parsed);
            string top = parsed.GetRequiredValue(options.Top);
            string[]? kept = parsed.GetValue(keep) is { Length: > 0 } some ? some : null;
            IReadOnlyList<string> useless;
            await using (ImageChain look = await ImageChain.OpenAsync(top, open, cancellationToken))
            {
                messages.WarnOf(look);
                useless = await ChainBitmaps.FindUselessAsync(look, kept, cancellationToken);
            }

            if (useless.Count == 0)
            {
                ChangeOutput.Write("Nothing to remove.", [], [], options.IsJson(parsed), output);
                return ExitCode.Success;
            }

            await using ImageChain chain = await ChainAccess.OpenAsync(
                top, open, again => ChainBitmaps.Holders(again, useless), cancellationToken);
            await progress.ForetellAsync(
                parsed, options.IsJson(parsed), messages, () => ChainMeasurement.OfDeleteAsync(chain, useless, cancellationToken));
            IReadOnlyList<BitmapChange> changes = await ChainBitmaps.DeleteAsync(chain, useless, cancellationToken);
            ChangeOutput.Write("Bitmaps removed.", changes, [], options.IsJson(parsed), output);
            return ExitCode.Success;
        });
        return command;
    }

    public static Command CreatePopulate(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The top image");
        var name = new Argument<string>("BITMAP") { Description = "The bitmap to rebuild" };
        var allDirty = new Option<bool>("--all-dirty")
        {
            Arity = ArgumentArity.Zero,
            Description = "Count all of an image as changed where its allocation does not tell, instead of refusing",
        };
        var trust = new Option<bool>("--trust-birth")
        {
            Arity = ArgumentArity.Zero,
            Description = "Rebuild from allocation also in the lowest image that holds BITMAP: only if that image was never committed (and "
                + "emptied) nor rebased since the bitmap was made",
        };
        var since = new Option<string?>("--since")
        {
            Description = "Make BITMAP, which no image holds, as it was only in memory when a program crashed, in TOP, "
                + "with all that changed since OLDER. You vouch that OLDER, which must be valid, was made (and last cleared) before BITMAP "
                + "was: no image tells that, and if it is not so, changes are missed",
            HelpName = "OLDER",
        };
        var command = new Command(
            "populate",
            """
            Rebuild a bitmap from what is allocated in the images where it is missing, has a gap, does not record, or is
            inconsistent after a crash; or, with --since, one that no image holds from an older one.

            What an overlay has is a superset of what was written to it since it was made. That holds for images of version 3
            with a backing file and without internal snapshots; for others it is refused, unless --all-dirty is given.
            Afterwards the bitmap is valid over the chain, and an incremental backup by it is complete, if perhaps larger than it had to be.
            """)
        {
            allDirty, trust, since,
        };
        var progress = new ChainProgress(output);
        progress.AddTo(command);
        options.AddTo(command);
        command.Add(name);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string bitmap = parsed.GetRequiredValue(name);
            string? older = parsed.GetValue(since);
            bool countsAll = parsed.GetValue(allDirty);
            bool trusts = parsed.GetValue(trust);
            if (older is not null && (countsAll || trusts))
            {
                messages.Error(
                    $"--since takes all from OLDER, nothing from allocation: {(countsAll ? "--all-dirty" : "--trust-birth")} does not go "
                    + $"with it");
                return ExitCode.Error;
            }

            await using ImageChain chain = await ChainAccess.OpenAsync(
                parsed.GetRequiredValue(options.Top),
                options.Read(parsed),
                look =>
                    older is null
                        ? ChainPopulate.FindImagesAsync(look, bitmap, cancellationToken)
                        : ValueTask.FromResult<IReadOnlyList<int>>([0]),
                cancellationToken);
            messages.WarnOf(chain);
            await progress.ForetellAsync(parsed, options.IsJson(parsed), messages, () => older is null
                ? ChainMeasurement.OfPopulateAsync(chain, bitmap, countsAll, trusts, cancellationToken)
                : ChainMeasurement.OfPopulateSinceAsync(chain, bitmap, older, cancellationToken));
            IReadOnlyList<BitmapChange> changes = older is null
                ? await ChainPopulate.RunAsync(chain, bitmap, countsAll, trusts, cancellationToken)
                : [await ChainPopulate.RunSinceAsync(chain, bitmap, older, cancellationToken)];
            BitmapVerdict[] verdicts = [];
            _ = await Leftovers.TidyAsync(
                $"Whether bitmap '{bitmap}' is valid now is not known; 'chain check' tells",
                async () => verdicts = [await chain.JudgeBitmapAsync(bitmap, cancellationToken: cancellationToken)]);
            ChangeOutput.Write(
                changes.Count == 0 ? "The bitmap is usable in all images." : "Bitmap rebuilt.", changes, verdicts, options.IsJson(parsed),
                output);
            return ExitCode.Success;
        });
        return command;
    }
}
