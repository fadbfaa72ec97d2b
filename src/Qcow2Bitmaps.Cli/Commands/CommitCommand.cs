using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;

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

            string top = parsed.GetRequiredValue(options.Top);
            (string? target, string? elsewhere) = await FindBaseAsync(top, basePath, options.Read(parsed), messages, cancellationToken);
            if (target is null)
            {
                return ExitCode.Error;
            }

            var how = new MergeOptions
            {
                BasePath = target,
                KeepsImages = true,
                DropBitmaps = parsed.GetValue(drop),
                BytesPerSecond = bytesPerSecond ?? 0,
                AcceptsLosses = true,
            };
            await using ChainCommit commit = await ChainCommit.OpenAsync(
                top, how, options.Read(parsed), cancellationToken: cancellationToken);
            messages.WarnOf(commit.Chain);
            await messages.WarnOfTruncationAsync(commit.Chain, withDataFiles: true, cancellationToken);
            if (elsewhere is not null)
            {
                messages.Warn(elsewhere);
            }

            messages.WarnOf(commit.ChangedSnapshots);
            if (!parsed.GetValue(quiet))
            {
                await OverlayWarning.WriteAsync(
                    () => commit.FindOverlaysAsync(cancellationToken), "may show something else afterwards", messages, cancellationToken);
            }

            await progress.RunAsync(parsed, isJson: false, commit, messages: null, cancellationToken);
            if (basePath is null && !parsed.GetValue(dontEmpty))
            {
                await messages.TryAsync(
                    $"The image is committed, but '{top}' is not emptied, and keeps what its backing file has too",
                    async () => await commit.EmptyTopAsync(cancellationToken));
            }

            if (!parsed.GetValue(quiet))
            {
                output.WriteLine("Image committed.");
            }

            return ExitCode.Success;
        });
        return command;
    }

    /// <summary>Finds the image that takes over.</summary>
    /// <returns>Its path, null where there is none, which is told; and what is to be warned of, if anything.</returns>
    private static async ValueTask<(string? Path, string? Warning)> FindBaseAsync(
        string topPath, string? name, ChainOpenOptions options, MessageWriter messages, CancellationToken cancellationToken)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(topPath, options, cancellationToken);
        if (chain.Layers.Count == 1)
        {
            messages.Error("Image does not have a backing file");
            return (null, null);
        }

        string? warning = null;
        int target = name is null ? 1 : ChainPlace.FindBase(chain, name, out warning);
        if (target == 0)
        {
            messages.Error("The image cannot be committed to itself");
            return (null, null);
        }

        return (chain.Layers[target].Path, warning);
    }
}
