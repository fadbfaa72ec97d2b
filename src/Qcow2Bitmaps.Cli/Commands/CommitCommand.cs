using System.CommandLine;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>commit</c>: as qemu-img's, with bitmaps.</summary>
internal static class CommitCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("FILE", "The image to commit, the top of its chain");
        var @base = new Option<string?>("-b")
        {
            Description = "The image of the chain that takes all (default: the backing file), relative to the folder of the image above "
                + "it, as it is stored there. FILE is not emptied then",
            HelpName = "BASE",
        };
        var dontEmpty = new Option<bool>("-d") { Arity = ArgumentArity.Zero, Description = "Do not empty FILE afterwards" };
        Option<bool> quiet = CommonOptions.Quiet();
        Option<string?> cache = CacheModes.Create();
        Option<string?> rate = CommonOptions.Rate("-r");
        var drop = new Option<bool>("--drop-bitmaps")
        {
            Arity = ArgumentArity.Zero,
            Description = "Let bitmaps be lost that the base cannot hold, as it is raw or of version 2, instead of refusing",
        };
        var progress = new ChainProgress(output, quiet);
        var command = new Command(
            "commit",
            "Commit an image to its backing file, with qemu-img's options. Unlike qemu-img, bitmaps are carried along: see 'chain commit'.")
        {
            @base, dontEmpty, quiet, cache, rate, drop,
        };
        progress.AddTo(command);
        options.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string? basePath = parsed.GetValue(@base);
            if ((SizeArgument.Read(parsed, rate, "rate limit", out long? bytesPerSecond) ?? CacheModes
                .FindFault(parsed.GetValue(cache))) is { } fault)
            {
                messages.Error(fault);
                return ExitCode.Error;
            }

            await using ImageChain chain = await ChainAccess.OpenAsync(
                parsed.GetRequiredValue(options.Top),
                options.Read(parsed),
                look =>
                    look.Layers.Count == 1
                        ? [0]
                        : ChainCommit.WritableLayers(look, 0, basePath is null ? 1 : ChainPlace.FindBase(look, basePath, out _)),
                cancellationToken);
            if (chain.Layers.Count == 1)
            {
                messages.Error("Image does not have a backing file");
                return ExitCode.Error;
            }

            messages.WarnOf(chain);
            await messages.WarnOfTruncationAsync(chain, withDataFiles: true, cancellationToken);
            string? elsewhere = null;
            int target = basePath is null ? 1 : ChainPlace.FindBase(chain, basePath, out elsewhere);
            if (elsewhere is not null)
            {
                messages.Warn(elsewhere);
            }

            if (target == 0)
            {
                messages.Error("The image cannot be committed to itself");
                return ExitCode.Error;
            }

            messages.WarnOf(ChainCommit.FindChangedSnapshots(chain, 0, target));
            if (!parsed.GetValue(quiet))
            {
                await OverlayWarning.WriteAsync(
                    chain, Enumerable.Range(1, target), "may show something else afterwards", messages, cancellationToken);
            }

            await progress.RunAsync(
                parsed,
                isJson: false,
                chain,
                steps => ChainCommit.RunAsync(
                    chain, 0, target,
                    new CommitOptions { DropBitmaps = parsed.GetValue(drop), BytesPerSecond = bytesPerSecond ?? 0, AcceptsLosses = true },
                    steps, cancellationToken),
                cancellationToken);
            if (basePath is null && !parsed.GetValue(dontEmpty))
            {
                _ = await Leftovers.TidyAsync(
                    $"The image is committed, but '{chain.Layers[0].Path}' is not emptied, and keeps what its backing file has too",
                    async () => await ChainCommit.EmptyTopAsync(chain, cancellationToken));
            }

            if (!parsed.GetValue(quiet))
            {
                output.WriteLine("Image committed.");
            }

            return ExitCode.Success;
        });
        return command;
    }
}
