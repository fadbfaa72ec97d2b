using System.CommandLine;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain flatten</c>: one standalone image with all data and bits.</summary>
internal static class ChainFlattenCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The top image");
        Argument<string> target = CommonOptions.File("TARGET", "The image to make; a file that exists is overwritten");
        var compress = new Option<bool>("-c") { Arity = ArgumentArity.Zero, Description = "Compress the clusters (zlib)" };
        var progress = new ChainProgress(output);
        var command = new Command(
            "flatten",
            """
            Make one standalone qcow2 image of a chain, with every valid bitmap's bits merged over all
            images. It is durable when the command ends.

            (qemu-img convert --bitmaps copies the top image's bits only and calls them valid.)
            """)
        {
            compress,
        };
        progress.AddTo(command);
        options.AddTo(command);
        command.Add(target);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string path = parsed.GetRequiredValue(target);
            await using ImageChain chain = await ImageChain.OpenAsync(
                parsed.GetRequiredValue(options.Top), options.Read(parsed), cancellationToken);
            messages.WarnOf(chain);
            bool isJson = options.IsJson(parsed);
            await progress.ForetellAsync(
                parsed, isJson, messages,
                async () => (await ChainMeasurement.OfFlattenAsync(chain, MeasureDepth.Bitmaps, cancellationToken)).Forecast);
            ChainResult result = await progress.RunAsync(
                parsed, isJson, chain, steps => ChainFlatten.RunAsync(chain, path, parsed.GetValue(compress), steps, cancellationToken),
                cancellationToken);
            ChangeOutput.Write("Chain flattened.", result, isJson, output);
            return ExitCode.Success;
        });
        return command;
    }
}
