using System.CommandLine;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain pull</c>: what lies between is pulled into the top image.</summary>
internal static class ChainPullCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The image that takes over");
        var @base = new Option<string?>("--base")
        {
            Description = "The image of the chain that is to be TOP's backing file; without it TOP has none afterwards",
            HelpName = "BASE",
        };
        var active = new ActiveImage("The top of the whole chain, where TOP is not: bitmaps of the images above TOP count too");
        Option<GapPolicy> gaps = GapsOption();
        var progress = new ChainProgress(output);
        var command = new Command(
            "pull",
            """
            Pull what the images between TOP and BASE have into TOP, with their bitmaps; TOP names BASE
            afterwards. The images between stay as they are.

            Bits are stored before data: a pull that was stopped is run again.
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

            if (chain.Layers.Take(target ?? chain.Layers.Count).Skip(top + 1).Any(static layer => layer.Image is { Bitmaps.Count: > 0 }))
            {
                await active.RequireNoOthersAsync(parsed, chain, [top], cancellationToken);
            }

            var how = new RebaseOptions { Top = top, Gaps = parsed.GetValue(gaps) };
            bool isJson = options.IsJson(parsed);
            await progress.ForetellAsync(
                parsed, isJson, messages,
                async () => (await ChainMeasurement.OfPullAsync(chain, target, how, MeasureDepth.Bitmaps, cancellationToken)).Forecast);
            ChainResult result = await progress.RunAsync(
                parsed, isJson, chain, steps => ChainRebase.PullAsync(chain, target, how, steps, cancellationToken), cancellationToken);
            ChangeOutput.Write("Images pulled.", result, isJson, output);
            return ExitCode.Success;
        });
        return command;
    }

    /// <summary>What becomes of bitmaps that would look valid afterwards.</summary>
    public static Option<GapPolicy> GapsOption() => new("--gaps")
    {
        Description = "What becomes of a bitmap that is not valid, as an image that leaves the chain did not record, "
            + "and that would look valid without it: 'mark' what that image has (default), or 'disable' it",
        HelpName = "mark|disable",
        CustomParser = static result => CommonOptions.OneOf(result, ("mark", GapPolicy.Mark), ("disable", GapPolicy.Disable)),
    };
}
