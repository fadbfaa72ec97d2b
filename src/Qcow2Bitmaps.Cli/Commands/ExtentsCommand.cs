using System.CommandLine;
using System.Globalization;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>extents</c>: which parts of the disk a bitmap marks as dirty.</summary>
internal static class ExtentsCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        Argument<string> file = CommonOptions.File("FILE", "The image, or with --chain the top image");
        var bitmap = new Argument<string>("BITMAP") { Description = "The name of the bitmap" };
        Option<string?> format = CommonOptions.Format("the image");
        Option<bool> share = CommonOptions.ForceShare();
        Option<OutputFormat> form = CommonOptions.Output();
        Option<bool> all = CommonOptions.Flag("--all", "Show clean ranges too");
        Option<bool> wholeChain = CommonOptions.Flag(
            "--chain", "Merge the bits of all images of the chain; exit code 2 if the bitmap is not valid over the chain");
        Option<string[]> allowBacking = CommonOptions.AllowBacking();
        Option<bool> lenient = CommonOptions.Lenient();
        var command = new Command("extents", "List the dirty ranges of a bitmap, in bytes of the disk")
        {
            format, share, form, all, wholeChain, allowBacking, lenient, file, bitmap,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            bool isLenient = parsed.GetValue(lenient);
            bool isChain = parsed.GetValue(wholeChain);
            var options = new ChainOpenOptions
            {
                Image = new Qcow2OpenOptions
                {
                    Lock = parsed.GetValue(share) ? ImageLock.SharedRead : ImageLock.Read,
                    IsLenient = isLenient,
                },
                TopFormat = parsed.GetValue(format),
                FollowBacking = isChain,
                AllowedFolders = parsed.GetValue(allowBacking) ?? [],
            };
            await using ImageChain chain = await ImageChain
                .OpenAsync(parsed.GetRequiredValue(file), options, cancellationToken);
            messages.WarnOf(chain);
            string name = parsed.GetRequiredValue(bitmap);
            if (isChain && await chain.JudgeBitmapAsync(name, cancellationToken: cancellationToken) is { IsValid: false } verdict)
            {
                messages.Error(RemedyText.Describe(verdict));
                return ExitCode.Invalid;
            }

            var findings = new List<FormatFault>();
            BitmapReading reading = isChain
                ? BitmapReading.Of(chain, name, findings)
                : BitmapReading.Of(chain.Layers[0], name, findings);
            Task writing = parsed.GetValue(form) == OutputFormat.Json
                ? WriteJsonAsync(reading, parsed.GetValue(all), output, cancellationToken)
                : WriteTextAsync(reading, parsed.GetValue(all), output, cancellationToken);
            await writing;
            messages.Warn(parsed.GetRequiredValue(file), findings);
            return ExitCode.Success;
        });
        return command;
    }

    private static async Task WriteJsonAsync(
        BitmapReading reading, bool includeClean, ToolWriter output, CancellationToken cancellationToken)
    {
        // The counts are printed first and nothing is stored, so the bits are read twice.
        long bytes = await reading.CountBytesAsync(cancellationToken);
        var json = new QemuJsonWriter(output);
        json.StartObject();
        json.String("bitmap", reading.Name);
        json.Number("granularity", reading.GranularityBytes);
        json.Number("virtual-size", reading.VirtualSizeBytes);
        json.Number("dirty-count", (bytes / reading.GranularityBytes) + (bytes % reading.GranularityBytes > 0 ? 1 : 0));
        json.Number("dirty-bytes", bytes);
        if (reading.IsInconsistent)
        {
            json.Boolean("inconsistent", true);
        }

        json.StartArray("extents");
        await foreach (DirtyExtent extent in reading.ReadAsync(includeClean, cancellationToken))
        {
            json.StartObject();
            json.Number("offset", extent.OffsetBytes);
            json.Number("length", extent.LengthBytes);
            json.Boolean("dirty", extent.IsDirty);
            json.EndObject();
        }

        json.EndArray();
        json.EndObject();
        json.Complete();
    }

    private static async Task WriteTextAsync(
        BitmapReading reading, bool includeClean, ToolWriter output, CancellationToken cancellationToken)
    {
        string header = "Offset          Length          State\n";
        long bits = 0;
        long bytes = 0;
        await foreach (DirtyExtent extent in reading.ReadAsync(includeClean, cancellationToken))
        {
            // Printed with the first range: if nothing can be read, no table appears.
            output.Write(header);
            header = "";
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{"0x" + extent.OffsetBytes.ToString("x", CultureInfo.InvariantCulture),-16}"
                + $"{"0x" + extent.LengthBytes.ToString("x", CultureInfo.InvariantCulture),-16}{(extent.IsDirty ? "dirty" : "clean")}"));
            if (extent.IsDirty)
            {
                bytes += extent.LengthBytes;
                bits += (extent.LengthBytes + reading.GranularityBytes - 1) / reading.GranularityBytes;
            }
        }

        output.Write(header);
        output.WriteLine(
            $"{bits} dirty granules of {SizeText.Of((ulong)reading.GranularityBytes)}: {SizeText.Of((ulong)bytes)} ({bytes} bytes) of "
            + $"{SizeText.Of((ulong)reading.VirtualSizeBytes)}");
    }
}
