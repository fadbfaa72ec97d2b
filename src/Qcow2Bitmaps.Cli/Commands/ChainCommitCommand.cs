using System.CommandLine;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain commit</c>: data and bitmaps of images become those of one below.</summary>
internal static class ChainCommitCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The topmost image to commit");
        Argument<string> @base = CommonOptions.File("BASE", "The image of TOP's chain that takes all");
        var active = new Option<string?>("--active")
        {
            Description = "The top of the whole chain, where TOP is not: the image above TOP names BASE afterwards. It must be given then, else that image would be without its backing file",
            HelpName = "ACTIVE",
        };
        var keep = new Option<bool>("--keep") { Arity = ArgumentArity.Zero, Description = "Keep the committed images; else their files are removed once all is durable" };
        var drop = new Option<bool>("--drop-bitmaps") { Arity = ArgumentArity.Zero, Description = "Let bitmaps be lost that BASE cannot hold, as it is raw or of version 2, instead of refusing" };
        var progress = new ChainProgress(output);
        var command = new Command(
            "commit",
            """
            Commit images to one below them: their data, and their bitmaps.

            Each valid bitmap of TOP is made in BASE where it is absent, and gets the bits of all committed images; other recording bitmaps of BASE get what is committed.
            BASE grows where it is smaller. Bits are stored before data: a commit that was stopped is run again. Without --keep the committed images are removed.
            """)
        {
            active, keep, drop,
        };
        progress.AddTo(command);
        options.AddTo(command);
        command.Add(@base);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string topPath = parsed.GetRequiredValue(options.Top);
            string basePath = parsed.GetRequiredValue(@base);
            string activePath = parsed.GetValue(active) ?? topPath;
            ChainResult result;
            string[] committed;
            await using (ImageChain chain = await ChainAccess.OpenAsync(
                activePath, options.Read(parsed), look => ChainCommit.WritableLayers(ChainPlace.Find(look, topPath), RequireBelow(look, topPath, basePath)), cancellationToken))
            {
                messages.WarnOf(chain);
                int top = ChainPlace.Find(chain, topPath);
                int target = ChainPlace.Find(chain, basePath);
                if (!parsed.GetValue(keep) && chain.Layers.Skip(top).Take(target - top).FirstOrDefault(static layer => layer.Image is { Snapshots.Count: > 0 }) is { } kept)
                {
                    messages.Error($"{kept} has internal snapshots, which would be removed with it: use --keep, or delete them first");
                    return ExitCode.Error;
                }

                committed = [.. chain.Layers.Skip(top).Take(target - top).Where(static layer => !layer.IsFixedSize).Select(static layer => layer.Path)];
                var how = new CommitOptions { DropBitmaps = parsed.GetValue(drop) };
                bool isJson = options.IsJson(parsed);
                await progress.ForetellAsync(
                    parsed, isJson, messages, async () => (await ChainMeasurement.OfCommitAsync(chain, top, target, how, MeasureDepth.Bitmaps, cancellationToken)).Forecast);
                result = await progress.RunAsync(parsed, isJson, chain, steps => ChainCommit.RunAsync(chain, top, target, how, steps, cancellationToken), cancellationToken);
            }

            if (!parsed.GetValue(keep))
            {
                foreach (string path in committed)
                {
                    File.Delete(path);
                }
            }

            ChangeOutput.Write("Images committed.", result, options.IsJson(parsed), output, parsed.GetValue(keep) ? [] : committed);
            return ExitCode.Success;
        });
        return command;
    }

    public static int RequireBelow(ImageChain chain, string topPath, string basePath)
    {
        int target = ChainPlace.Find(chain, basePath);
        return target > ChainPlace.Find(chain, topPath)
            ? target
            : throw new IOException($"'{Format.PrintableText.Escape(basePath)}' does not lie below '{Format.PrintableText.Escape(topPath)}'");
    }
}
