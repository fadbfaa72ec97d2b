using System.CommandLine;
using Qcow2Bitmaps.Cli.Options;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>resize</c>: qemu-img's verb, with bitmaps that grow and are cut with the disk.</summary>
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
            await using FileStorage storage = FileStorage.Open(path, StorageAccess.ReadWrite, ImageLock.Write);
            string found = parsed.GetValue(format) ?? await ImageFormat.ProbeAsync(storage, cancellationToken);
            if (found is not (ImageFormat.Qcow2 or ImageFormat.Raw))
            {
                throw new Qcow2UnsupportedException(
                    UnsupportedReason.Format, $"'{path}' is of format {found}, which is not resized here; the formats are qcow2 and raw");
            }

            await using Qcow2Image? image = found is ImageFormat.Qcow2
                ? await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: cancellationToken)
                : null;
            long size = image?.VirtualSizeBytes ?? RawDisk.SizeOf(storage);
            Int128 wanted = Wanted(words[1], size);
            if (Refusal(wanted, size, mode, parsed.GetValue(shrink), image is not null) is { } refusal)
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

            if (!parsed.GetValue(quiet) && wanted < size)
            {
                await OverlayWarning.OfResizeAsync(path, found, (long)wanted, messages, cancellationToken);
            }

            if (image is null)
            {
                await ResizeRawAsync(storage, (long)wanted, preallocated, cancellationToken);
            }
            else
            {
                messages.Warn(path, image.Findings);
                await messages.WarnOfTruncationAsync(image, isWritten: true, trustsCounts: true, cancellationToken);
                try
                {
                    await ResizeAsync(
                        image, path, (long)wanted, preallocated, parsed.GetValue(allowBacking) ?? [], parsed.GetValue(quiet), messages,
                        cancellationToken);
                }
                catch (Qcow2UnsupportedException e) when (e.Reason == UnsupportedReason.Preallocation)
                {
                    messages.Error(PreallocationModes.ResizeRefusal(e));
                    return ExitCode.Error;
                }
            }

            if (!parsed.GetValue(quiet))
            {
                output.WriteLine("Image resized.");
            }

            return ExitCode.Success;
        });
        return command;
    }

    /// <summary>A device is refused before a mode that no raw image has.</summary>
    private static async ValueTask ResizeRawAsync(
        FileStorage storage, long size, Preallocation preallocation, CancellationToken cancellationToken)
    {
        if (preallocation == Preallocation.Metadata)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Preallocation,
                storage.CapacityBytes is null
                    ? "Unsupported preallocation mode: metadata"
                    : "Preallocation mode 'metadata' unsupported for this non-regular file");
        }

        await RawImage.ResizeAsync(storage, size, preallocation, cancellationToken);
    }

    private static async ValueTask ResizeAsync(
        Qcow2Image image, string path, long size, Preallocation preallocation, string[] allowBacking, bool isQuiet, MessageWriter messages,
        CancellationToken cancellationToken)
    {
        var resolver = FileBackingResolver.ForTop(path, allowBacking);
        await using ImageStorage? dataFile = image.DataFile is { } dataName
            ? await new BackingReference(path, dataName, ImageFormat.Raw, 0)
            {
                Access = StorageAccess.ReadWrite,
                IsDataFile = true,
            }.OpenAsync(resolver, ImageLock.Write, cancellationToken)
            : null;
        var options = new Qcow2ResizeOptions { AllowShrink = true, DataFile = dataFile, Preallocation = preallocation };
        bool shrinks = size < image.VirtualSizeBytes;
        if (!isQuiet
            && size > image.VirtualSizeBytes
            && dataFile?.Length > image.VirtualSizeBytes
            && image.Header.AutoclearFeatures.HasFlag(AutoclearFeatures.RawExternalData))
        {
            // What the file has behind the disk's end shows through where it was zeros.
            await OverlayWarning.OfResizeAsync(path, ImageFormat.Qcow2, image.VirtualSizeBytes, messages, cancellationToken);
        }

        // A disk that shrinks does not need what lies below, but its bitmaps are compared with those.
        if (image.BackingFile is not { } name || size == image.VirtualSizeBytes || (shrinks && image.Bitmaps.Count == 0))
        {
            await image.ResizeAsync(size, options, cancellationToken);
            WarnOfKept(dataFile, shrinks, size, messages);
            return;
        }

        ImageStorage below = await new BackingReference(path, name, image.BackingFormat, 1).OpenAsync(
            resolver, ImageLock.Read, cancellationToken);
        await using ImageChain chain = await ImageChain.OpenAsync(
            below, new ChainOpenOptions { TopFormat = image.BackingFormat, Resolver = resolver }, cancellationToken);
        IReadOnlyList<BitmapVerdict> verdicts = await LaterChain.JudgeResizedAsync(image, size, chain, cancellationToken);
        await image.ResizeAsync(
            size, options with { Backing = shrinks ? null : chain }, cancellationToken);
        foreach (BitmapVerdict verdict in verdicts.Where(static verdict => verdict.SizesDiffer))
        {
            messages.Warn(RemedyText.Describe(verdict));
        }

        WarnOfKept(dataFile, shrinks, size, messages);
    }

    private static void WarnOfKept(ImageStorage? dataFile, bool shrinks, long size, MessageWriter messages)
    {
        if (shrinks && dataFile is { CapacityBytes: null } && dataFile.Length > size)
        {
            messages.Warn(
                $"'{dataFile.Name}' keeps its {dataFile.Length} bytes: it was longer than the disk, and its data behind the disk's old end "
                + $"are kept");
        }
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
        : !isQcow2 && wanted > RawDisk.MaxSizeBytes ? "The image size is too large for file format 'raw'"
        : isQcow2 && wanted % SectorBytes != 0 ? $"The new size must be a multiple of {SectorBytes}"
        : null;
}
