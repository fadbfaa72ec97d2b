using System.CommandLine;
using Qcow2Bitmaps.Cli.Options;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>create</c>: makes an image as qemu-img does.</summary>
internal sealed class CreateCommand
{
    private readonly Argument<string?> _file = new("FILE")
    {
        Description = "The image to create; an existing one is overwritten",
        Arity = ArgumentArity.ZeroOrOne,
    };
    private readonly Argument<string?> _size = new("SIZE")
    {
        Description = "Size of the disk, such as 10G. Default: that of the backing file, or of a data file that is kept",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<string> _format = new("-f", "--format")
    {
        Description = "Format of the image: qcow2, or raw (default), also called file",
        HelpName = "FMT",
    };
    private readonly Option<string?> _backing = CommonOptions.Value(
        "-b", "Backing file, stored as given; relative to the image", "BACKING");
    private readonly Option<string?> _backingFormat = CommonOptions.Value("-F", "Format of the backing file; required with -b", "FMT");
    private readonly Option<bool> _unsafe = CommonOptions.Flag("-u", "Do not open the backing file; SIZE is then required");
    private readonly Option<string[]> _options = CommonOptions.Repeatable(
        "-o", "Options: name=value,...; '-o help' lists them. Repeatable", "OPTIONS");
    private readonly Option<bool> _quiet = CommonOptions.Quiet();
    private readonly Option<string[]> _allowBacking = CommonOptions.Repeatable(
        "--allow-backing", "Also open files below the backing file in this folder, not only in the backing file's. Repeatable", "DIR");

    private readonly ToolWriter _output;
    private readonly MessageWriter _messages;

    private CreateCommand(ToolWriter output, MessageWriter messages)
    {
        _output = output;
        _messages = messages;
    }

    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var create = new CreateCommand(output, messages);
        var command = new Command(
            "create",
            """
            Create an image

            The options and messages are qemu-img's. A qcow2 file equals qemu-img's byte
            for byte, unless its refcount table has more than one cluster.
            """)
        {
            create._format, create._backing, create._backingFormat, create._unsafe, create._options, create._quiet, create._allowBacking,
            create._file, create._size,
        };
        command.SetAction(create.RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        string[] lists = parsed.GetValue(_options) ?? [];
        if (Array.Find(lists, static list => !OptionList.IsValid(list)) is { } invalid)
        {
            _messages.Error($"Invalid option list: {invalid}");
            return ExitCode.Error;
        }

        string? file = parsed.GetValue(_file);
        string format = parsed.GetValue(_format) ?? ImageFormat.Raw;
        if (Array.Exists(lists, OptionList.AsksForHelp))
        {
            return OptionHelp.Write(format, isNamed: file is null, _output, _messages);
        }

        if (file is null)
        {
            _messages.Error("Expecting image file name");
            _messages.WriteLine($"Try '{MessageWriter.ToolName} create --help' for more information");
            return ExitCode.Error;
        }

        if (!TryParseSize(parsed.GetValue(_size), out long? size))
        {
            return ExitCode.Error;
        }

        OptionList? options = Describe(format) is { } descriptions ? new OptionList(descriptions) : null;
        string? fault = options is null ? UnknownFormat(format) : Collect(parsed, options, lists, format, size);
        fault ??= FindNameFault(options!, file) ?? await CompleteAsync(parsed, options!, file, cancellationToken);
        if (fault is not null)
        {
            return Fail(file, fault);
        }

        if (!parsed.GetValue(_quiet))
        {
            _output.WriteLine($"Formatting '{_output.Foreign(file)}', fmt={format}{_output.Foreign(options!.Show())}");
        }

        return CreateOptions.FindUnsupported(options!) is { } unsupported ? Fail(file, unsupported)
            : string.Equals(format, ImageFormat.Qcow2, StringComparison.Ordinal)
                ? await MakeQcow2Async(file, options!, parsed.GetValue(_quiet), cancellationToken)
            : await MakeRawAsync(file, options!, cancellationToken);
    }

    public static OptionDescription[]? Describe(string format) => format switch
    {
        ImageFormat.Qcow2 => CreateOptions.Qcow2,
        ImageFormat.Raw or CreateOptions.File => CreateOptions.Raw,
        _ => null,
    };

    public static string UnknownFormat(string format) => ImageFormat.IsKnown(format)
        ? $"Images of format '{format}' cannot be made here; the formats are qcow2 and raw"
        : PrintableMessage.Of($"Unknown file format '{format}'");

    /// <summary>Combines the options. The tool's own option takes precedence over the same one in <c>-o</c>.</summary>
    private string? Collect(ParseResult parsed, OptionList options, string[] lists, string format, long? size)
    {
        // QEMU joins the lists before it splits them.
        if (lists.Length > 0 && options.Add(string.Join(',', lists)) is { } fault)
        {
            return fault;
        }

        if (size is { } given)
        {
            if (options.Has(CreateOptions.Size))
            {
                return "The image size must be specified only once";
            }

            options.Set(CreateOptions.Size, (ulong)given);
        }

        return parsed.GetValue(_backing) is { } backing && options.Add(CreateOptions.BackingFile, backing) is not null
            ? $"Backing file not supported for file format '{format}'"
            : parsed.GetValue(_backingFormat) is { } backingFormat && options.Add(CreateOptions.BackingFormat, backingFormat) is not null
                ? $"Backing file format not supported for file format '{format}'"
            : null;
    }

    private static string? FindNameFault(OptionList options, string file) => options.Text(CreateOptions.BackingFile) switch
    {
        "" => "Expected backing file name, got empty string",
        { } backing when string.Equals(backing, file, StringComparison.Ordinal) =>
            "Error: Trying to create an image with the same filename as the backing file",
        _ => null,
    };

    /// <summary>Determines the size if it is not given, and inspects the backing file.</summary>
    private async Task<string?> CompleteAsync(ParseResult parsed, OptionList options, string file, CancellationToken cancellationToken)
    {
        if (options.Text(CreateOptions.BackingFile) is { } backing)
        {
            string? format = options.Text(CreateOptions.BackingFormat);
            string detected = "";
            if (!parsed.GetValue(_unsafe))
            {
                if (format is not null && !ImageFormat.IsKnown(format))
                {
                    return PrintableMessage.Of($"Unknown driver '{format}'\nCould not open backing image.");
                }

                Qcow2CreateOptions below = await InspectAsync(parsed, file, backing, format, cancellationToken);
                detected = $"\nDetected format of {below.BackingFormat}.";
                if (!options.Has(CreateOptions.Size))
                {
                    options.Set(CreateOptions.Size, (ulong)below.SizeBytes);
                }

                options.Add(CreateOptions.BackingFile, below.BackingFile!);
            }
            else if (BackingPath.FindFault(file, backing) is { } ambiguous)
            {
                return ambiguous;
            }

            if (format is null)
            {
                return "Backing file specified without backing format" + detected;
            }
        }

        if (!options.Has(CreateOptions.Size)
            && options.IsOn(CreateOptions.KeepDataFile)
            && options.Text(CreateOptions.DataFile) is { } dataFile)
        {
            await using var kept = ImageStorage.OpenFile(dataFile, FileAccess.Read, ImageLock.None);
            options.Set(CreateOptions.Size, (ulong)Disk.OpenRaw(kept).SizeBytes);
        }

        return options.Has(CreateOptions.Size) ? null : "Image creation needs a size parameter";
    }

    private async Task<Qcow2CreateOptions> InspectAsync(
        ParseResult parsed, string file, string backing, string? format, CancellationToken cancellationToken)
    {
        var chain = new ChainOpenOptions
        {
            // As QEMU: a running VM may have the backing file open, only its header is read.
            Image = new Qcow2OpenOptions { Lock = ImageLock.None },
            TopFormat = format,
            AllowedFolders = parsed.GetValue(_allowBacking) ?? [],
        };
        try
        {
            return await ImageChain.PlanOverlayAsync(file, backing, chain, cancellationToken);
        }
        catch (Exception e) when (e is (IOException and not Qcow2UnsupportedException) or UnauthorizedAccessException)
        {
            throw IOException.Of($"{file}: {RemedyText.Describe(e)}\nCould not open backing image.", e);
        }
    }

    private async Task<int> MakeQcow2Async(string file, OptionList options, bool isQuiet, CancellationToken cancellationToken)
    {
        Qcow2CreateOptions? image = CreateOptions.ToQcow2(options, out string? fault);
        fault ??= image!.FindFault();
        if (fault is not null)
        {
            return Fail(file, fault);
        }

        try
        {
            await Qcow2Image.CreateAsync(file, image!, cancellationToken);
            if (!isQuiet && image!.DataFile is { } dataFile)
            {
                OutsideWarning.Write(file, Path.GetFullPath(dataFile), isDataFile: true, _messages);
            }

            return ExitCode.Success;
        }
        catch (Qcow2UnsupportedException e) when (e.Id is PreallocationModes.RefusalId)
        {
            return Fail(file, PreallocationModes.CreationRefusal(e));
        }
    }

    private async Task<int> MakeRawAsync(string file, OptionList options, CancellationToken cancellationToken)
    {
        ulong size = options.Number(CreateOptions.Size);
        string? fault = CreateOptions.FindRawFault(options, out Preallocation preallocation)
            ?? (size > Disk.MaxSizeBytes ? "The image size is too large for file format 'raw'" : null);
        if (fault is not null)
        {
            return Fail(file, fault);
        }

        try
        {
            await Disk.CreateRawAsync(file, (long)size, preallocation, cancellationToken);
            return ExitCode.Success;
        }
        catch (Qcow2UnsupportedException e) when (e.Id is PreallocationModes.RefusalId)
        {
            return Fail(file, PreallocationModes.RawRefusal(preallocation));
        }
    }

    private bool TryParseSize(string? text, out long? size)
    {
        size = null;
        if (text is null)
        {
            return true;
        }

        if (!SizeArgument.TryParse(text, "image size", out long bytes, out string error))
        {
            _messages.Error(error);
            return false;
        }

        size = bytes;
        return true;
    }

    private int Fail(string file, string fault)
    {
        _messages.Error(PrintableMessage.Of($"{file}: ") + fault);
        return ExitCode.Error;
    }
}
