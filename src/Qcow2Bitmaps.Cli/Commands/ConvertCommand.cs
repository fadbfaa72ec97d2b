using System.CommandLine;
using System.Globalization;
using Qcow2Bitmaps.Cli.Options;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>convert</c>: copies disks as qemu-img convert does.</summary>
internal sealed class ConvertCommand
{
    private const double MinStepPercent = 1;
    private const int MaxWorkers = 16;

    private readonly Argument<string[]> _files = new("FILE… OUTPUT")
    {
        Description = "The images to concatenate, each the top of its chain, and the target",
        Arity = ArgumentArity.ZeroOrMore,
    };
    private readonly Option<string?> _format = CommonOptions.AnyFormat("the images to copy");
    private readonly Option<string> _outputFormat = new("-O")
    {
        Description = "Format of the target: qcow2, or raw (default)",
        HelpName = "FMT",
    };
    private readonly Option<bool> _compress = CommonOptions.Flag("-c", "Compress the clusters of a qcow2 target (zlib)");
    private readonly Option<bool> _outOfOrder = CommonOptions.Flag("-W", "Write out of order. Has no effect: that is always done");
    private readonly Option<string?> _workers = CommonOptions.Value(
        "-m", "Number of parallel workers, 1 to 16. Default: the number of processors, within 2 to 8", "N");
    private readonly Option<string?> _snapshot = CommonOptions.Value(
        "-l", "Copy an internal snapshot: its id or name, or snapshot.id=ID or snapshot.name=NAME", "SNAPSHOT");
    private readonly Option<bool> _offload = CommonOptions.Flag(
        "-C", "Copy offloading. Has no effect: blocks are shared where possible. Not with -c or -S");
    private readonly Option<string?> _rate = CommonOptions.Rate("-r");
    private readonly Option<bool> _noReflink = CommonOptions.Flag(
        "--no-reflink", "Copy data even if the file system (XFS, btrfs) could share blocks");
    private readonly Option<string[]> _options = CommonOptions.Repeatable(
        "-o", "Options of the target: name=value,...; '-o help' lists them. Repeatable", "OPTIONS");
    private readonly Option<string?> _backing = CommonOptions.Value(
        "-B", "Backing file of the target: only what differs from it is copied", "BACKING");

    private readonly Option<string?> _backingFormat = CommonOptions.Value("-F", "Format of the backing file; required with -B", "FMT");
    private readonly Option<string?> _sparse = CommonOptions.Value(
        "-S", "Leave out runs of zeros of at least this size (default 4k); 0 writes all zeros as data", "SIZE");
    private readonly Option<bool> _exists = CommonOptions.Flag("-n", "Write into an existing target, which must be large enough");
    private readonly Option<bool> _isZero = CommonOptions.Flag(
        "--target-is-zero", "With -n: the target reads as zeros, so that no zeros are written");
    private readonly Option<bool> _progress = CommonOptions.Flag("-p", "Show progress");
    private readonly Option<bool> _quiet = CommonOptions.Quiet();
    private readonly Option<bool> _share = CommonOptions.ForceShare();
    private readonly Option<string?> _cache = CommonOptions.Value(
        "-t", "Cache mode: 'unsafe' (default) does not flush; all other modes flush at the end", "CACHE");
    private readonly Option<string?> _sourceCache = CacheModes.CreateForSource("The sources'");
    private readonly Option<bool> _bitmaps = CommonOptions.Flag(
        "--bitmaps", "Copy the bitmaps too, each with the merged bits of all images of the chain");

    private readonly Option<bool> _skipBroken = CommonOptions.Flag(
        "--skip-broken-bitmaps", "With --bitmaps: skip bitmaps that are not valid, with a warning");
    private readonly Option<string[]> _allowBacking = CommonOptions.AllowBacking();
    private readonly ToolWriter _output;
    private readonly MessageWriter _messages;

    private ConvertCommand(ToolWriter output, MessageWriter messages)
    {
        _output = output;
        _messages = messages;
    }

    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var convert = new ConvertCommand(output, messages);
        var command = new Command(
            "convert",
            """
            Convert images to a raw or qcow2 image

            The options and messages are qemu-img's. Holes and zeros are neither read nor
            written. An existing target is overwritten, unless it is one of the sources.

            With -B, if the backing file is part of the source's chain, only what is above
            it is copied. Otherwise what the top image does not hold is compared with the
            backing file, and copied where it differs.

            --bitmaps refuses a bitmap that is not valid over the chain. (qemu-img copies
            only the bits of the top image, so that changes in the images below are lost.)
            """)
        {
            convert._format, convert._outputFormat, convert._compress, convert._outOfOrder, convert._workers, convert._rate,
            convert._offload, convert._noReflink, convert._snapshot, convert._options, convert._backing, convert._backingFormat,
            convert._sparse, convert._exists, convert._isZero, convert._progress, convert._quiet, convert._share, convert._cache,
            convert._sourceCache, convert._bitmaps, convert._skipBroken,
            convert._allowBacking, convert._files,
        };
        command.SetAction(convert.RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        string[] lists = parsed.GetValue(_options) ?? [];
        string format = parsed.GetValue(_outputFormat) ?? ImageFormat.Raw;
        string[] files = parsed.GetValue(_files) ?? [];
        if (Array.Exists(lists, OptionList.AsksForHelp))
        {
            return OptionHelp.Write(format, isNamed: true, _output, _messages);
        }

        string? fault = FindFault(parsed, lists, format, files);
        if (fault is not null)
        {
            _messages.Error(fault);
            return ExitCode.Error;
        }

        var sources = new List<ImageChain>();
        var progress = new ProgressOutput(parsed.GetValue(_progress) && !parsed.GetValue(_quiet) ? _output : null, MinStepPercent);
        try
        {
            foreach (string file in files[..^1])
            {
                ImageChain? source = SnapshotChoice.Read(parsed, _snapshot, out _) is { } wanted
                    ? await wanted.OpenAsync(file, SourceOptions(parsed), cancellationToken)
                    : await ImageChain.OpenAsync(file, SourceOptions(parsed), cancellationToken);
                if (source is null)
                {
                    return Fail(SnapshotChoice.NotFound);
                }

                sources.Add(source);
                _messages.WarnOf(sources[^1]);
                await _messages.WarnOfTruncationAsync(sources[^1], withDataFiles: true, cancellationToken);
            }

            return await ConvertAsync(parsed, sources, files[^1], progress, cancellationToken);
        }
        finally
        {
            progress.End();
            foreach (ImageChain source in sources)
            {
                await source.DisposeAsync();
            }
        }
    }

    private string? FindFault(ParseResult parsed, string[] lists, string format, string[] files)
    {
        bool exists = parsed.GetValue(_exists);
        return Array.Find(lists, static list => !OptionList.IsValid(list)) is { } invalid
            ? PrintableMessage.Of($"Invalid option list: {invalid}")
            : CommonOptions.Values(parsed, _workers).Any(static workers => ParseWorkers(workers) is null)
                ? new ConversionOptions { Workers = 0 }.FindFault()
            : CommonOptions.Values(parsed, _sparse)
                .Select(FindSparseFault)
                .FirstOrDefault(static wrong => wrong is not null) is { } sparseFault
                ? sparseFault
            : SnapshotChoice.Read(parsed, _snapshot, out string? snapshotFault) is null && snapshotFault is not null ? snapshotFault
            : SizeArgument.Read(parsed, _rate, "rate limit", out _) is { } rateFault ? rateFault
            : files.Length < 2 ? "Must specify image file name"
            : parsed.GetValue(_skipBroken) && !parsed.GetValue(_bitmaps) ? "Use of --skip-broken-bitmaps requires --bitmaps"
            : parsed.GetValue(_offload) && FindOffloadFault(parsed) is { } offloadFault ? offloadFault
            : parsed.GetValue(_isZero) && !exists ? "--target-is-zero requires use of -n flag"
            : exists && lists.Length > 0 ? "-o has no effect when skipping image creation"
            : parsed.GetValue(_snapshot) is not null && files.Length > 2 ? "No support for concatenating multiple snapshot"
            : parsed.GetValue(_snapshot) is not null && parsed.GetValue(_bitmaps)
                ? "Bitmaps are those of the present, not of a snapshot: --bitmaps cannot be used with -l"
            : (CacheModes.FindFault(parsed.GetValue(_cache)) ?? CacheModes.FindSourceFault(parsed.GetValue(_sourceCache))) is { } cacheFault
                ? cacheFault
            : parsed.GetValue(_format) is { } given && given is not (ImageFormat.Qcow2 or ImageFormat.Raw)
                ? PrintableMessage.Of($"Could not open '{files[0]}': {CommonOptions.UnknownDriver(given)}")
            : CreateCommand.Describe(format) is not null ? null
            : exists ? PrintableMessage.Of($"Could not open '{files[^1]}': {CommonOptions.UnknownDriver(format)}")
            : CreateCommand.UnknownFormat(format);
    }

    private string? FindOffloadFault(ParseResult parsed) =>
        parsed.GetValue(_compress) ? "Cannot enable copy offloading when -c is used"
        : parsed.GetValue(_sparse) is not null ? "Cannot enable copy offloading when -S is used"
        : parsed.GetValue(_noReflink) ? "Cannot enable copy offloading when --no-reflink is used"
        : null;

    private async Task<int> ConvertAsync(
        ParseResult parsed, List<ImageChain> sources, string file, ProgressOutput progress, CancellationToken cancellationToken)
    {
        ConversionOptions? options = Collect(parsed, file, out string? fault);
        fault ??= FindTargetFault(options!) ?? options!.FindFault();
        if (fault is null && sources.Count > 1)
        {
            fault = options!.Bitmaps != BitmapCopying.None ? "Copying bitmaps only possible with single source"
                : options.TargetHasBacking || options.Create?.BackingFile is not null
                    ? "Having a backing file for the target makes no sense when concatenating multiple input images"
                : null;
        }

        if (fault is not null)
        {
            return Fail(fault);
        }

        Int128 sum = 0;
        foreach (ImageChain source in sources)
        {
            sum += source.SizeBytes;
        }

        long total = (long)Int128.Min(sum, long.MaxValue);
        fault = sum > Disk.MaxSizeBytes
            ? $"The sources have {sum} bytes together, at most {Disk.MaxSizeBytes} fit into one image"
            : (options!.Create is { } create ? create with { SizeBytes = total } : null)?.FindFault();
        if (fault is not null)
        {
            return Fail(
                PrintableMessage.Of($"{file}: error while converting {(options!.IsQcow2 ? ImageFormat.Qcow2 : ImageFormat.Raw)}: {fault}"));
        }

        progress.Start();
        try
        {
            IReadOnlyList<BitmapVerdict> skipped = await DiskCopy.ConvertAsync(
                sources, file, options!, new ProgressSteps(step => progress.Update(step.DoneBytes, step.TotalBytes)), cancellationToken);
            foreach (BitmapVerdict verdict in skipped)
            {
                _messages.Warn(
                    verdict is { Reason: InvalidReason.Inconsistent, ImageIndex: 0 }
                        ? PrintableMessage.Of($"Skipping inconsistent bitmap '{verdict.Name}'")
                        : $"Skipping: {RemedyText.Describe(verdict)}");
            }
        }
        catch (BitmapStateException e) when (e.Message.StartsWith("Cannot copy", StringComparison.Ordinal))
        {
            _messages.Error(RemedyText.Describe(e));
            // The other errors already name a better remedy.
            string orElse = e.Message.StartsWith("Cannot copy inconsistent", StringComparison.Ordinal)
                ? $", or use '{MessageWriter.ToolName} bitmap --remove' to delete it"
                : "";
            _messages.WriteLine($"Try --skip-broken-bitmaps{orElse}");
            return ExitCode.Error;
        }

        catch (Qcow2UnsupportedException e) when (e.Id is PreallocationModes.RefusalId)
        {
            string format = options!.IsQcow2 ? ImageFormat.Qcow2 : ImageFormat.Raw;
            string why = options.IsQcow2 ? PreallocationModes.CreationRefusal(e) : PreallocationModes.RawRefusal(options.RawPreallocation);
            return Fail(PrintableMessage.Of($"{file}: error while converting {format}: {why}"));
        }

        progress.Update(total, total);
        if (options!.Create?.DataFile is { } dataFile && !parsed.GetValue(_quiet))
        {
            OutsideWarning.Write(file, Path.GetFullPath(dataFile), isDataFile: true, _messages);
        }

        return ExitCode.Success;
    }

    /// <summary>Combines the target's options.</summary>
    private ConversionOptions? Collect(ParseResult parsed, string file, out string? fault)
    {
        bool isQcow2 = string.Equals(parsed.GetValue(_outputFormat), ImageFormat.Qcow2, StringComparison.Ordinal);
        bool exists = parsed.GetValue(_exists);
        Qcow2CreateOptions? create = null;
        Preallocation rawPreallocation = Preallocation.Off;
        fault = exists ? null : FindCreateFault(parsed, isQcow2, file, out create, out rawPreallocation);
        return fault is not null ? null : new ConversionOptions
        {
            IsQcow2 = isQcow2,
            Create = create,
            RawPreallocation = rawPreallocation,
            TargetExists = exists,
            TargetIsZero = parsed.GetValue(_isZero),
            TargetHasBacking = exists && parsed.GetValue(_backing) is not null,
            Compress = parsed.GetValue(_compress),
            Workers = parsed.GetValue(_workers) is { } workers ? ParseWorkers(workers)!.Value : new ConversionOptions().Workers,
            SparseBytes = parsed.GetValue(_sparse) is { } sparse && SizeArgument.TryParse(sparse, "", out long bytes, out _)
                ? (int)bytes
                : new ConversionOptions().SparseBytes,
            BytesPerSecond = SizeArgument.Read(parsed, _rate, "", out long? rate) is null ? rate ?? 0 : 0,
            UsesReflinks = !parsed.GetValue(_noReflink),
            Flush = parsed.GetValue(_cache) is not null and not "unsafe",
            Bitmaps = !parsed.GetValue(_bitmaps) ? BitmapCopying.None
                : parsed.GetValue(_skipBroken) ? BitmapCopying.SkipInvalid
                : BitmapCopying.All,
            AllowedFolders = parsed.GetValue(_allowBacking) ?? [],
        };
    }

    private string? FindCreateFault(
        ParseResult parsed, bool isQcow2, string file, out Qcow2CreateOptions? create, out Preallocation rawPreallocation)
    {
        create = null;
        rawPreallocation = Preallocation.Off;
        string format = isQcow2 ? ImageFormat.Qcow2 : ImageFormat.Raw;
        var options = new OptionList(CreateCommand.Describe(format)!);
        string[] lists = parsed.GetValue(_options) ?? [];
        if (lists.Length > 0 && options.Add(string.Join(',', lists)) is { } listFault)
        {
            return listFault;
        }

        if (parsed.GetValue(_backing) is { } backing && options.Add(CreateOptions.BackingFile, backing) is not null)
        {
            return $"Backing file not supported for file format '{format}'";
        }

        if (parsed.GetValue(_backingFormat) is { } backingFormat && options.Add(CreateOptions.BackingFormat, backingFormat) is not null)
        {
            return $"Backing file format not supported for file format '{format}'";
        }

        if (options.Text(CreateOptions.BackingFile) is not null && options.Text(CreateOptions.BackingFormat) is null)
        {
            return "Use of backing file requires explicit backing format";
        }

        // The size is that of the sources, whatever the options say.
        options.Set(CreateOptions.Size, 0);
        string? fault = CreateOptions.FindUnsupported(options)
            ?? (isQcow2 ? null : CreateOptions.FindRawFault(options, out rawPreallocation));
        create = isQcow2 && fault is null ? CreateOptions.ToQcow2(options, out fault) : null;
        fault ??= create?.FindFault();
        return fault is null ? null : PrintableMessage.Of($"{file}: error while converting {format}: {fault}");
    }

    private ChainOpenOptions SourceOptions(ParseResult parsed) => new()
    {
        Image = new Qcow2OpenOptions { Lock = parsed.GetValue(_share) ? ImageLock.SharedRead : ImageLock.Read },
        TopFormat = parsed.GetValue(_format),
        AllowedFolders = parsed.GetValue(_allowBacking) ?? [],
    };

    private static int? ParseWorkers(string text) =>
        int.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowLeadingWhite, CultureInfo.InvariantCulture, out int count)
            && count is >= 1 and <= MaxWorkers
            ? count
            : null;

    private static string? FindSparseFault(string text) =>
        !SizeArgument.TryParse(text, "buffer size for sparse output", out long bytes, out string error) ? error
        : new ConversionOptions { SparseBytes = (int)Math.Min(bytes, int.MaxValue) }.FindFault();

    private static string? FindTargetFault(ConversionOptions options) => !options.TargetIsZero ? null
        : !options.TargetExists ? "--target-is-zero requires use of -n flag"
        : options.TargetHasBacking ? "Cannot use --target-is-zero when the destination image has a backing file"
        : null;

    private int Fail(string fault)
    {
        _messages.Error(fault);
        return ExitCode.Error;
    }
}
