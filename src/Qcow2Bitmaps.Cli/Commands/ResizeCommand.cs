using System.CommandLine;
using Qcow2Bitmaps.Cli.Options;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>resize</c>: qemu-img's verb; bitmaps are extended and truncated with the disk.</summary>
internal static class ResizeCommand
{
    private const string Name = "resize";
    private const int SectorBytes = 512;

    /// <summary>A size may begin with a minus and is no option then: it is the last argument, as in qemu-img.</summary>
    public static string[] WithSizeAsArgument(string[] args)
    {
        int verb = TraceOption.CountArguments(args);
        return args.Length > verb + 2
            && args[verb] is Name
            && args[^1] is ['-', >= '0' and <= '9', ..]
            && !args.Contains("--", StringComparer.Ordinal)
            ? [.. args[..^1], "--", args[^1]]
            : args;
    }

    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        Argument<string[]> arguments = new("FILE [+|-]SIZE")
        {
            Description = "The image, and its new size or the change of its size",
            Arity = ArgumentArity.ZeroOrMore,
        };
        Option<string?> format = CommonOptions.Format("the image");
        Option<bool> shrink = CommonOptions.Flag("--shrink", "Allow a smaller size: the data behind the new end are deleted");
        Option<string?> preallocation = CommonOptions.Value(
            "--preallocation", "Preallocation of the new space: off (default), metadata (not for raw), falloc, full", "MODE");
        Option<bool> quiet = CommonOptions.Quiet("--quiet");
        Option<string[]> allowBacking = CommonOptions.AllowBacking();
        var command = new Command(
            Name,
            """
            Resize a disk

            The options are qemu-img's. Bitmaps are resized too; if QEMU would lose one,
            the resize is refused. New space reads as zeros, even if something was stored
            behind the old end (QEMU shows that). But what a raw data file, or a device in
            its place, has behind the old end becomes part of the disk. An interruption
            leaves the image as it was before or as it is after.

            Exit codes: 0 success; 1 error, and nothing was changed.
            """)
        {
            shrink, preallocation, format, quiet, allowBacking, arguments,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string[] words = parsed.GetValue(arguments) ?? [];
            string mode = parsed.GetValue(preallocation) ?? "off";
            if (UsageError(words, mode, out Preallocation preallocated) is { } usage)
            {
                messages.Error(usage);
                return ExitCode.Error;
            }

            string path = words[0];
            var open = new ChainOpenOptions { TopFormat = parsed.GetValue(format), AllowedFolders = parsed.GetValue(allowBacking) ?? [] };
            await using ChainResize resize = await ChainResize.OpenAsync(path, open, cancellationToken);
            long size = resize.SizeBytes;
            Int128 wanted = Wanted(words[1], size);
            if (Refusal(wanted, size, mode, parsed.GetValue(shrink), resize.Image is not null) is { } refusal)
            {
                messages.Error(refusal);
                if (wanted > 0 && wanted < size && mode is "off")
                {
                    messages.Warn(
                        "Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an operation, "
                        + "make sure there is no important data there.");
                }

                return ExitCode.Error;
            }

            bool isQuiet = parsed.GetValue(quiet);
            if (!isQuiet && wanted < size)
            {
                await OverlayWarning.OfResizeAsync(
                    path, resize.Image is null ? ImageFormat.Raw : ImageFormat.Qcow2, (long)wanted, messages, cancellationToken);
            }

            if (resize.Image is { } image)
            {
                messages.Warn(path, image.Findings);
                await messages.WarnOfTruncationAsync(image, isWritten: true, trustsCounts: true, cancellationToken);
                if (!isQuiet && await resize.RevealsDataAsync((long)wanted, cancellationToken))
                {
                    await OverlayWarning.OfResizeAsync(path, ImageFormat.Qcow2, size, messages, cancellationToken);
                }
            }

            try
            {
                foreach (BitmapVerdict verdict in (await resize.RunAsync((long)wanted, allowShrink: true, preallocated, cancellationToken))
                    .Where(static verdict => verdict.SizesDiffer))
                {
                    messages.Warn(RemedyText.Describe(verdict));
                }
            }
            catch (Qcow2UnsupportedException e) when (e.Id is PreallocationModes.RefusalId && resize.Image is not null)
            {
                messages.Error(PreallocationModes.ResizeRefusal(e));
                return ExitCode.Error;
            }

            if (!parsed.GetValue(quiet))
            {
                output.WriteLine("Image resized.");
            }

            return ExitCode.Success;
        });
        return command;
    }

    private static string? UsageError(string[] words, string mode, out Preallocation preallocation)
    {
        bool isMode = PreallocationModes.TryParse(mode, out preallocation);
        if (words.Length != 2)
        {
            return words.Length < 2 ? "Not enough arguments" : "Expecting image file name and size";
        }

        if (!isMode)
        {
            return PrintableMessage.Of($"Invalid preallocation mode '{mode}'");
        }

        string number = words[1].Length > 0 && words[1][0] is '+' or '-' ? words[1][1..] : words[1];
        return number is ['+' or '-', ..] ? InvalidSize : ByteCount.Parse(number, out _) switch
        {
            NumberSyntax.Invalid => InvalidSize,
            NumberSyntax.OutOfRange => PrintableMessage.Of($"Value '{number}' is out of range for parameter 'size'"),
            _ => null,
        };
    }

    private const string InvalidSize =
        "Parameter 'size' expects a non-negative number below 2^64\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, "
        + "peta-\nand exabytes, respectively.";

    private static Int128 Wanted(string text, long size)
    {
        _ = ByteCount.Parse(text.TrimStart('+', '-'), out ulong bytes);
        return text[0] switch
        {
            '+' => (Int128)size + bytes,
            '-' => (Int128)size - bytes,
            _ => bytes,
        };
    }

    private static string? Refusal(Int128 wanted, long size, string mode, bool mayShrink, bool isQcow2) =>
        wanted <= 0 || wanted > long.MaxValue ? "New image size must be positive"
        : wanted <= size && mode is not "off" ? "Preallocation can only be used for growing images"
        : wanted < size && !mayShrink ? "Use the --shrink option to perform a shrink operation."
        : !isQcow2 && wanted > Disk.MaxSizeBytes ? "The image size is too large for file format 'raw'"
        : isQcow2 && wanted % SectorBytes != 0 ? $"The new size must be a multiple of {SectorBytes}"
        : null;
}
