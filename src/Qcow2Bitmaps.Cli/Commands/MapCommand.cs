using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>map</c>: prints what qemu-img map prints for a chain.</summary>
internal static class MapCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        Argument<string> file = CommonOptions.File("FILE", "The image, the top of its chain");
        Option<string?> format = CommonOptions.Format("the image");
        Option<bool> share = CommonOptions.ForceShare();
        Option<OutputFormat> form = CommonOptions.Output();
        Option<string?> start = CommonOptions.Value("-s", "Start at this offset of the disk", "SIZE", "--start-offset");
        Option<string?> length = CommonOptions.Value("-l", "List at most this much", "SIZE", "--max-length");
        Option<string[]> allowBacking = CommonOptions.AllowBacking();
        var command = new Command(
            "map",
            """
            Show which image of the chain holds each part of the disk

            The output is qemu-img's. Reads only tables; needs no key.
            """)
        {
            format, share, form, start, length, allowBacking, file,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            long? lengthBytes = null;
            if ((SizeArgument.Read(parsed, start, "start offset", out long? startBytes) ?? SizeArgument
                .Read(parsed, length, "max length", out lengthBytes)) is { } error)
            {
                messages.Error(error);
                return ExitCode.Error;
            }

            var options = new ChainOpenOptions
            {
                Image = new Qcow2OpenOptions { Lock = parsed.GetValue(share) ? ImageLock.SharedRead : ImageLock.Read },
                TopFormat = parsed.GetValue(format),
                AllowedFolders = parsed.GetValue(allowBacking) ?? [],
            };
            await using ImageChain chain = await ImageChain.OpenAsync(parsed.GetRequiredValue(file), options, cancellationToken);
            messages.WarnOf(chain);
            await messages.WarnOfTruncationAsync(chain, withDataFiles: false, cancellationToken);
            var map = new MapOutput(chain, output, parsed.GetValue(form) == OutputFormat.Json);
            map.Start();
            await foreach (DiskExtent extent in chain.MapAsync(startBytes ?? 0, lengthBytes, cancellationToken))
            {
                map.Add(extent);
            }

            map.Complete();
            return ExitCode.Success;
        });
        return command;
    }
}
