using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain pull</c>: pulls the images between into the top image.</summary>
internal static class ChainPullCommand
{
    /// <summary>Of <c>--gaps</c>: bitmaps are disabled.</summary>
    public const string Disable = "disable";

    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The image that takes over");
        Option<string?> @base = CommonOptions.Value("--base", "The new backing file of TOP, an image of the chain. Default: none", "BASE");
        var active = new ActiveImage("The top of the whole chain, if that is not TOP: bitmaps of the images above count too");
        Option<string?> gaps = GapsOption();
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
            var how = new MergeOptions
            {
                TopPath = topPath,
                BasePath = parsed.GetValue(@base),
                DisablesGaps = parsed.GetValue(gaps) is Disable,
            };
            await using ChainRebase pull = await ChainRebase.OpenPullAsync(
                active.Read(parsed) ?? topPath, how, options.Read(parsed), cancellationToken: cancellationToken);
            messages.WarnOf(pull.Chain);
            int? top = pull.Chain.IndexOf(topPath);
            int? target = how.BasePath is { } path ? pull.Chain.IndexOf(path) : null;
            if (target <= top)
            {
                messages.Error(target == top ? "BASE is TOP itself: nothing lies between" : "BASE lies above TOP");
                return ExitCode.Error;
            }

            await active.RequireNoOthersAsync(parsed, pull, cancellationToken);
            bool isJson = options.IsJson(parsed);
            ChainResult result = await progress.RunAsync(parsed, isJson, pull, messages, cancellationToken);
            ChangeOutput.Write("Images pulled.", result, isJson, output);
            return ExitCode.Success;
        });
        return command;
    }

    /// <summary>The option for what happens to bitmaps that would look valid afterwards.</summary>
    public static Option<string?> GapsOption() => new("--gaps")
    {
        Description = "If an image that leaves the chain did not record a bitmap: 'mark' (default) its data, or 'disable' the bitmap",
        HelpName = "mark|disable",
        CustomParser = static result => CommonOptions.OneOf(result, ("mark", "mark"), (Disable, Disable)),
    };
}
