using System.CommandLine;
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
        Option<string?> @base = CommonOptions.Value(
            "-b", "The image that takes over, as the image above it names it. Default: the backing file", "BASE");
        Option<bool> dontEmpty = CommonOptions.Flag("-d", "Do not empty FILE afterwards");
        Option<bool> quiet = CommonOptions.Quiet();
        Option<string?> cache = CacheModes.Create();
        Option<string?> rate = CommonOptions.Rate("-r");
        Option<bool> drop = CommonOptions.Flag(
            "--drop-bitmaps", "Drop bitmaps that the base cannot hold because it is raw or of version 2");
        var progress = new ChainProgress(output, quiet);
        var command = new Command(
            "commit",
            """
            Commit an image into its backing file

            The options are qemu-img's. Unlike with qemu-img the bitmaps are committed
            too: see 'chain commit'. FILE is emptied afterwards, unless -b or -d is given.
            """)
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
                    steps, cancellationToken));
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
