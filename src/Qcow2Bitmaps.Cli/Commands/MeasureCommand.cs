using System.CommandLine;
using Qcow2Bitmaps.Cli.Options;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>measure</c>: how much space a target needs, as qemu-img prints it.</summary>
internal sealed class MeasureCommand
{
    private readonly Argument<string?> _file = new("FILE")
    {
        Description = "The image to copy, the top of its chain",
        Arity = ArgumentArity.ZeroOrOne,
    };
    private readonly Option<string?> _format = CommonOptions.AnyFormat("FILE");
    private readonly Option<string> _outputFormat = new("-O")
    {
        Description = "Format of the target: qcow2, or raw (default)",
        HelpName = "FMT",
    };
    private readonly Option<string[]> _options = CommonOptions.Repeatable(
        "-o", "Options of the target: name=value,... Repeatable", "OPTIONS");
    private readonly Option<string?> _size = CommonOptions.Value("--size", "Measure an empty disk of this size instead of a file", "SIZE");
    private readonly Option<string?> _snapshot = CommonOptions.Value(
        "-l", "Measure an internal snapshot: its id or name, or snapshot.id=ID or snapshot.name=NAME", "SNAPSHOT");
    private readonly Option<OutputFormat> _form = CommonOptions.Output();
    private readonly Option<bool> _share = CommonOptions.ForceShare();
    private readonly Option<string[]> _allowBacking = CommonOptions.AllowBacking();
    private readonly ToolWriter _output;
    private readonly MessageWriter _messages;

    private MeasureCommand(ToolWriter output, MessageWriter messages)
    {
        _output = output;
        _messages = messages;
    }

    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var measure = new MeasureCommand(output, messages);
        var command = new Command("measure", "Measure the file size that a copy of an image, or an empty disk, needs")
        {
            measure._format, measure._outputFormat, measure._options, measure._size, measure._snapshot, measure._form, measure._share,
            measure._allowBacking, measure._file,
        };
        command.SetAction(measure.RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        string format = parsed.GetValue(_outputFormat) ?? ImageFormat.Raw;
        string? file = parsed.GetValue(_file);
        SnapshotChoice? snapshot = SnapshotChoice.Read(parsed, _snapshot, out string? snapshotFault);
        string? sizeFault = SizeArgument.Read(parsed, _size, "image size", out long? size);
        string? fault = snapshotFault is not null ? snapshotFault
            : sizeFault is not null ? sizeFault
            : file is not null && parsed.GetValue(_size) is not null ? "--size N cannot be used together with a filename."
            : file is null && parsed.GetValue(_size) is null ? "Either --size N or one filename must be specified."
            : format is not (ImageFormat.Qcow2 or ImageFormat.Raw)
                ? ImageFormat.IsKnown(format)
                    ? $"Block driver '{format}' does not support size measurement"
                    : PrintableMessage.Of($"Unknown file format '{format}'")
            : null;
        Qcow2CreateOptions? create = null;
        fault ??= Collect(parsed, format, size ?? 0, out create);
        if (fault is not null)
        {
            _messages.Error(fault);
            return ExitCode.Error;
        }

        ImageMeasurement? measured = file is null
            ? MeasureEmpty(create, size ?? 0)
            : await MeasureAsync(parsed, file, snapshot, create, cancellationToken);
        if (measured is null)
        {
            _messages.Error(SnapshotChoice.NotFound);
            return ExitCode.Error;
        }

        Write(parsed, measured);
        return ExitCode.Success;
    }

    private string? Collect(ParseResult parsed, string format, long size, out Qcow2CreateOptions? create)
    {
        create = null;
        var options = new OptionList(CreateCommand.Describe(format)!);
        string[] lists = parsed.GetValue(_options) ?? [];
        if (lists.Length > 0 && options.Add(string.Join(',', lists)) is { } listFault)
        {
            return $"{listFault}\n{MessageWriter.ToolName}: Invalid options for file format '{format}'";
        }

        options.Set(CreateOptions.Size, (ulong)size);
        bool isQcow2 = string.Equals(format, ImageFormat.Qcow2, StringComparison.Ordinal);
        string? fault = null;
        create = isQcow2 ? CreateOptions.ToMeasured(options, out fault) : null;
        return fault ?? Said(create?.FindFault());
    }

    /// <summary>qemu-img does not name the format here.</summary>
    private static string? Said(string? fault) => fault?.Replace(" for file format 'qcow2'", "", StringComparison.Ordinal);

    private static ImageMeasurement MeasureEmpty(Qcow2CreateOptions? create, long size) =>
        create is null ? DiskCopy.MeasureRaw(size) : DiskCopy.MeasureEmpty(create);

    private async Task<ImageMeasurement?> MeasureAsync(
        ParseResult parsed, string file, SnapshotChoice? snapshot, Qcow2CreateOptions? create, CancellationToken cancellationToken)
    {
        var open = new ChainOpenOptions
        {
            Image = new Qcow2OpenOptions { Lock = parsed.GetValue(_share) ? ImageLock.SharedRead : ImageLock.Read },
            TopFormat = parsed.GetValue(_format),
            AllowedFolders = parsed.GetValue(_allowBacking) ?? [],
        };
        await using ImageChain? chain = snapshot is null
            ? await ImageChain.OpenAsync(file, open, cancellationToken)
            : await snapshot.OpenAsync(file, open, cancellationToken);
        if (chain is null)
        {
            return null;
        }

        _messages.WarnOf(chain);
        await _messages.WarnOfTruncationAsync(chain, withDataFiles: false, cancellationToken);
        long size = chain.SizeBytes;
        return create is null ? DiskCopy.MeasureRaw(size)
            : Said((create with { SizeBytes = size }).FindFault()) is { } fault
                ? throw IOException.Of($"{fault}")
            : await DiskCopy.MeasureAsync(chain, create, cancellationToken);
    }

    private void Write(ParseResult parsed, ImageMeasurement measured)
    {
        if (parsed.GetValue(_form) == OutputFormat.Json)
        {
            var json = new QemuJsonWriter(_output);
            json.StartObject();
            if (measured.BitmapBytes is { } bitmapBytes)
            {
                json.Number("bitmaps", bitmapBytes);
            }

            json.Number("required", measured.RequiredBytes);
            json.Number("fully-allocated", measured.FullyAllocatedBytes);
            json.EndObject();
            json.Complete();
            return;
        }

        _output.WriteLine($"required size: {measured.RequiredBytes}");
        _output.WriteLine($"fully allocated size: {measured.FullyAllocatedBytes}");
        if (measured.BitmapBytes is { } bytes)
        {
            _output.WriteLine($"bitmaps size: {bytes}");
        }
    }
}
