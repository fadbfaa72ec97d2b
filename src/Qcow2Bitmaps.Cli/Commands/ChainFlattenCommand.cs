using System.CommandLine;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Images.Creation;
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
            Make one standalone qcow2 image of a chain, with every valid bitmap's bits merged over all images. It is durable when the command ends.

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
            await using ImageChain chain = await ImageChain.OpenAsync(parsed.GetRequiredValue(options.Top), options.Read(parsed), cancellationToken);
            messages.WarnOf(chain);
            var create = new Qcow2CreateOptions { SizeBytes = chain.Layers[0].VirtualSizeBytes };
            if (chain.Layers[0].Image is { } image)
            {
                create = create with { ClusterSizeBytes = image.ClusterSizeBytes, ExtendedL2 = image.Header.HasExtendedL2 };
            }

            var conversion = new ConversionOptions
            {
                IsQcow2 = true,
                Create = create,
                Compress = parsed.GetValue(compress),
                Bitmaps = chain.Layers[0].Image is null ? BitmapCopying.None : BitmapCopying.SkipInvalid,
            };
            IReadOnlyList<BitmapVerdict> skipped = await progress.RunAsync(
                parsed, options.IsJson(parsed), chain, steps => ImageConversion.ConvertAsync([chain], path, conversion, steps, cancellationToken), cancellationToken);
            var changes = new List<BitmapChange>();
            foreach (string name in chain.Layers[0].Image?.Bitmaps.Select(static bitmap => bitmap.Name) ?? [])
            {
                BitmapVerdict? left = skipped.FirstOrDefault(verdict => string.Equals(verdict.Name, name, StringComparison.Ordinal));
                changes.Add(left is null
                    ? new BitmapChange(name, BitmapChangeKind.Merged, path)
                    : new BitmapChange(name, BitmapChangeKind.LeftBehind, chain.Layers[0].Path, left.Detail));
            }

            ChangeOutput.Write("Chain flattened.", changes, options.IsJson(parsed), output);
            return ExitCode.Success;
        });
        return command;
    }
}
