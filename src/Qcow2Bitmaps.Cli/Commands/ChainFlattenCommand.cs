using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain flatten</c>: one standalone image with all data and bits.</summary>
internal static class ChainFlattenCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var options = new ChainOptions("TOP", "The top image");
        Argument<string> target = CommonOptions.File("TARGET", "The image to create; an existing file is overwritten");
        Option<bool> compress = CommonOptions.Flag("-c", "Compress the clusters (zlib)");
        var progress = new ChainProgress(output);
        var command = new Command(
            "flatten",
            """
            Make one standalone image of a chain, with its bitmaps

            Each valid bitmap gets the merged bits of all images. (qemu-img convert
            --bitmaps copies only the bits of the top image.) The image is durable when
            the command ends.
            """)
        {
            compress,
        };
        progress.AddTo(command);
        options.AddTo(command);
        command.Add(target);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            await using ChainFlatten flatten = await ChainFlatten.OpenAsync(
                parsed.GetRequiredValue(options.Top), parsed.GetRequiredValue(target), parsed.GetValue(compress), options.Read(parsed),
                cancellationToken);
            messages.WarnOf(flatten.Chain);
            bool isJson = options.IsJson(parsed);
            ChainResult result = await progress.RunAsync(parsed, isJson, flatten, messages, cancellationToken);
            ChangeOutput.Write("Chain flattened.", result, isJson, output);
            return ExitCode.Success;
        });
        return command;
    }
}
