using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain delete</c>, <c>chain prune</c> and <c>chain populate</c>: bitmaps in all images of a chain.</summary>
internal static class ChainBitmapCommands
{
    public static Command CreateDelete(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The top image");
        var names = new Argument<string[]>("BITMAP") { Description = "The bitmaps to remove", Arity = ArgumentArity.OneOrMore };
        var progress = new ChainProgress(output);
        var command = new Command("delete", "Remove bitmaps from all images of a chain");
        progress.AddTo(command);
        options.AddTo(command);
        command.Add(names);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string[] wanted = parsed.GetRequiredValue(names);
            await using ChainBitmaps removal = await ChainBitmaps.OpenAsync(
                parsed.GetRequiredValue(options.Top), wanted, options.Read(parsed), cancellationToken);
            messages.WarnOf(removal.Chain);
            ChainResult result = await progress.RunAsync(parsed, options.IsJson(parsed), removal, messages, cancellationToken);
            ChangeOutput.Write("Bitmaps removed.", result.Bitmaps, [], options.IsJson(parsed), output);
            return ExitCode.Success;
        });
        return command;
    }

    public static Command CreatePrune(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The top image");
        Option<string[]> keep = CommonOptions.Repeatable(
            "--keep", "Keep this bitmap, valid or not, and remove all others. Repeatable", "NAME");
        var command = new Command("prune", "Remove bitmaps that are not valid, or all except some") { keep };
        var progress = new ChainProgress(output);
        progress.AddTo(command);
        options.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            ChainOpenOptions open = options.Read(parsed);
            string top = parsed.GetRequiredValue(options.Top);
            string[]? kept = parsed.GetValue(keep) is { Length: > 0 } some ? some : null;
            string[] useless;
            await using (ImageChain look = await ImageChain.OpenAsync(top, open, cancellationToken))
            {
                messages.WarnOf(look);
                useless = [.. (await look.JudgeBitmapsAsync(cancellationToken: cancellationToken))
                    .Where(verdict => kept is null ? !verdict.IsValid : !kept.Contains(verdict.Name, StringComparer.Ordinal))
                    .Select(static verdict => verdict.Name)];
            }

            if (useless.Length == 0)
            {
                ChangeOutput.Write("Nothing to remove.", [], [], options.IsJson(parsed), output);
                return ExitCode.Success;
            }

            await using ChainBitmaps removal = await ChainBitmaps.OpenAsync(top, useless, open, cancellationToken);
            ChainResult result = await progress.RunAsync(parsed, options.IsJson(parsed), removal, messages, cancellationToken);
            ChangeOutput.Write("Bitmaps removed.", result.Bitmaps, [], options.IsJson(parsed), output);
            return ExitCode.Success;
        });
        return command;
    }

    public static Command CreatePopulate(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The top image");
        var name = new Argument<string>("BITMAP") { Description = "The bitmap to rebuild" };
        Option<bool> allDirty = CommonOptions.Flag(
            "--all-dirty", "Count all of an image as changed if its allocation does not show what changed");
        Option<bool> trust = CommonOptions.Flag(
            "--trust-birth", "The lowest image that holds BITMAP was neither committed nor rebased since the bitmap was added");
        Option<string?> since = CommonOptions.Value(
            "--since", "Make BITMAP, which no image holds, from OLDER, a valid bitmap that was added and last cleared before it", "OLDER");
        var command = new Command(
            "populate",
            """
            Rebuild a bitmap that is not valid

            The bitmap may be missing, have a gap, be disabled, or be inconsistent after a
            crash. It is rebuilt from what the images have allocated: an overlay holds
            everything that was written to it. Afterwards the bitmap is valid, and an
            incremental backup is complete, but perhaps larger than necessary.

            Allocation does not show what changed in an image of version 2, without a
            backing file, or with internal snapshots. Such images are refused unless
            --all-dirty is given. The lowest image that holds the bitmap needs
            --trust-birth or --all-dirty.

            --since is for a bitmap that was only in the memory of a program that crashed.
            You vouch for the order of the two bitmaps: no image records it, and if it is
            wrong, changes are lost.
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

            string top = parsed.GetRequiredValue(options.Top);
            ChainOpenOptions open = options.Read(parsed);
            await using ChainPopulate populate = older is null
                ? await ChainPopulate.OpenAsync(top, bitmap, countsAll, trusts, open, cancellationToken)
                : await ChainPopulate.OpenSinceAsync(top, bitmap, older, open, cancellationToken);
            messages.WarnOf(populate.Chain);
            IReadOnlyList<BitmapChange> changes = (await progress.RunAsync(
                parsed, options.IsJson(parsed), populate, messages, cancellationToken)).Bitmaps;
            BitmapVerdict[] verdicts = [];
            await messages.TryAsync(
                $"Whether bitmap '{bitmap}' is valid now is not known; 'chain check' tells",
                async () => verdicts = [await populate.Chain.JudgeBitmapAsync(bitmap, cancellationToken: cancellationToken)]);
            ChangeOutput.Write(
                changes.Count == 0 ? "The bitmap is usable in all images." : "Bitmap rebuilt.", changes, verdicts, options.IsJson(parsed),
                output);
            return ExitCode.Success;
        });
        return command;
    }
}
