using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain pull</c>: pulls the images between into the top image.</summary>
internal static class ChainPullCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The image that takes over");
        Option<string?> @base = CommonOptions.Value("--base", "The new backing file of TOP, an image of the chain. Default: none", "BASE");
        var active = new ActiveImage("The top of the whole chain, if that is not TOP: bitmaps of the images above count too");
        Option<GapPolicy> gaps = GapsOption();
        var progress = new ChainProgress(output);
        var command = new Command(
            "pull",
            """
            Pull the images below into TOP, with their bitmaps

            Copies what the images between TOP and BASE hold into TOP, and makes BASE its
            backing file. The images between do not change.

            Bits are stored before data. If the pull is interrupted, run it again.
            """)
        {
            @base, gaps,
        };
        active.AddTo(command);
        progress.AddTo(command);
        options.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string topPath = parsed.GetRequiredValue(options.Top);
            await using ImageChain chain = await ChainAccess.OpenAsync(
                active.Read(parsed) ?? topPath, options.Read(parsed),
                look => ChainRebase.WritableLayers(look, ChainPlace.Find(look, topPath)), cancellationToken);
            messages.WarnOf(chain);
            int top = ChainPlace.Find(chain, topPath);
            int? target = parsed.GetValue(@base) is { } path ? ChainPlace.Find(chain, path) : null;
            if (target <= top)
            {
                messages.Error(target == top ? "BASE is TOP itself: nothing lies between" : "BASE lies above TOP");
                return ExitCode.Error;
            }

            if (chain.Layers.Take(target ?? chain.Layers.Count).Skip(top + 1).Any(static layer => layer.Bitmaps.Any()))
            {
                await active.RequireNoOthersAsync(parsed, chain, [top], cancellationToken);
            }

            var how = new RebaseOptions { Top = top, Gaps = parsed.GetValue(gaps) };
            bool isJson = options.IsJson(parsed);
            await progress.ForetellAsync(
                parsed, isJson, messages,
                async () => (await ChainMeasurement.OfPullAsync(chain, target, how, MeasureDepth.Bitmaps, cancellationToken)).Forecast);
            ChainResult result = await progress.RunAsync(
                parsed, isJson, chain, steps => ChainRebase.PullAsync(chain, target, how, steps, cancellationToken));
            ChangeOutput.Write("Images pulled.", result, isJson, output);
            return ExitCode.Success;
        });
        return command;
    }

    /// <summary>What becomes of bitmaps that would look valid afterwards.</summary>
    public static Option<GapPolicy> GapsOption() => new("--gaps")
    {
        Description = "If an image that leaves the chain did not record a bitmap: 'mark' (default) its data, or 'disable' the bitmap",
        HelpName = "mark|disable",
        CustomParser = static result => CommonOptions.OneOf(result, ("mark", GapPolicy.Mark), ("disable", GapPolicy.Disable)),
    };
}
