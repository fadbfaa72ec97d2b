using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>info</c>: prints what qemu-img info prints, without opening any other file.</summary>
internal static class InfoCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        Argument<string> file = CommonOptions.File("FILE", "The image");
        Option<string?> format = CommonOptions.Format("the image");
        Option<bool> share = CommonOptions.ForceShare();
        Option<OutputFormat> form = CommonOptions.Output();
        Option<bool> wholeChain = CommonOptions.Flag("--backing-chain", "Show all images of the backing chain, top first");
        Option<string[]> allowBacking = CommonOptions.AllowBacking();
        Option<bool> lenient = CommonOptions.Lenient();
        var command = new Command(
            "info",
            """
            Show information about an image, its snapshots and its bitmaps

            The output is qemu-img's. Only FILE is opened, unless --backing-chain is
            given.
            """)
        {
            format, share, form, wholeChain, allowBacking, lenient, file,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string path = parsed.GetRequiredValue(file);
            var options = new ChainOpenOptions
            {
                Image = new Qcow2OpenOptions
                {
                    Lock = parsed.GetValue(share) ? ImageLock.None : ImageLock.Inspect,
                    IsLenient = parsed.GetValue(lenient),
                },
                TopFormat = parsed.GetValue(format),
                FollowBacking = parsed.GetValue(wholeChain),
                AllowedFolders = parsed.GetValue(allowBacking) ?? [],
            };
            await using ImageChain chain = await ImageChain.OpenAsync(path, options, cancellationToken);
            messages.WarnOf(chain);
            var reports = new List<ImageReport>();
            foreach (ChainLayer layer in chain.Layers)
            {
                var findings = new List<FormatFault>();
                reports.Add(await ReportAsync(layer, findings, cancellationToken));
                messages.Warn(layer.Path, findings);
            }

            Write(reports, parsed.GetValue(form), parsed.GetValue(wholeChain), output);
            return ExitCode.Success;
        });
        return command;
    }

    private static async ValueTask<ImageReport> ReportAsync(
        ChainLayer layer, ICollection<FormatFault> findings, CancellationToken cancellationToken) => new()
        {
            FileName = layer.Path,
            Format = layer.Format,
            VirtualSizeBytes = layer.VirtualSizeBytes,
            AllocatedBytes = layer.AllocatedBytes,
            Image = (layer as Qcow2Layer)?.Image,
            FullBackingFile = (layer as Qcow2Layer)?.Image.BackingFile is { } name ? BackingPath.Combine(layer.Path, name) : null,
            Luks = layer is Qcow2Layer { Image: var image } ? await image.ReadLuksHeaderAsync(findings, cancellationToken) : null,
        };

    private static void Write(List<ImageReport> reports, OutputFormat form, bool isChain, ToolWriter output)
    {
        if (form == OutputFormat.Json)
        {
            var json = new QemuJsonWriter(output);
            var info = new InfoJson(json);
            if (isChain)
            {
                json.StartArray();
            }

            reports.ForEach(info.Write);
            if (isChain)
            {
                json.EndArray();
            }

            json.Complete();
            return;
        }

        var text = new InfoText(output);
        for (int i = 0; i < reports.Count; i++)
        {
            if (i > 0)
            {
                output.Write("\n");
            }

            text.Write(reports[i]);
        }
    }
}
