using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain measure</c>: the space that an operation needs, before it starts.</summary>
internal sealed class ChainMeasureCommand
{
    private const string NewImage = "the new image";

    private readonly ChainOptions _options = new("TOP", "The top image; of a commit the topmost one to commit");
    private readonly Option<string?> _commit = CommonOptions.Value("--commit", "Measure a commit into this image of the chain", "BASE");
    private readonly Option<string?> _active = CommonOptions.Value(
        "--active", "With --commit and --pull: the top of the whole chain, if that is not TOP", "ACTIVE");
    private readonly Option<bool> _drop = CommonOptions.Flag("--drop-bitmaps", "With --commit: as 'chain commit --drop-bitmaps'");
    private readonly Option<bool> _flatten = CommonOptions.Flag("--flatten", "Measure a standalone image of the chain");
    private readonly Option<bool> _snapshot = CommonOptions.Flag("--snapshot", "Measure an overlay on top, in TOP's folder");
    private readonly Option<bool> _pull = CommonOptions.Flag("--pull", "Measure a pull of the images below TOP, down to --base");
    private readonly Option<string?> _base = CommonOptions.Value("--base", "With --pull: the new backing file of TOP", "BASE");
    private readonly Option<bool> _fast = CommonOptions.Flag(
        "--tables", "Read only tables: an upper bound, which counts allocated zeros as data");
    private readonly ToolWriter _output;
    private readonly MessageWriter _messages;

    private ChainMeasureCommand(ToolWriter output, MessageWriter messages)
    {
        _output = output;
        _messages = messages;
    }

    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var measure = new ChainMeasureCommand(output, messages);
        var command = new Command(
            "measure",
            """
            Measure the space that an operation needs

            Measures a commit, pull, flatten or snapshot, including bitmaps, and shows
            what happens to each bitmap. Nothing is written. 'required' is the length of
            the target afterwards, in whole clusters (on a block device: the part in use).
            Without --tables it is exact, and all data are read to find zeros.
            """)
        {
            measure._commit, measure._active, measure._drop, measure._flatten, measure._snapshot, measure._pull, measure._base,
            measure._fast,
        };
        measure._options.AddTo(command);
        command.SetAction(measure.RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        string? basePath = parsed.GetValue(_commit);
        bool[] wanted = [basePath is not null, parsed.GetValue(_flatten), parsed.GetValue(_snapshot), parsed.GetValue(_pull)];
        string? fault = wanted.Count(static one => one) != 1
            ? "Exactly one of --commit BASE, --flatten, --snapshot and --pull must be given"
            : basePath is null && parsed.GetValue(_drop) ? "--drop-bitmaps requires --commit"
            : basePath is null && !parsed.GetValue(_pull) && parsed.GetValue(_active) is not null ? "--active requires --commit or --pull"
            : parsed.GetValue(_base) is not null && !parsed.GetValue(_pull) ? "--base requires --pull"
            : null;
        if (fault is not null)
        {
            _messages.Error(fault);
            return ExitCode.Error;
        }

        bool readsData = !parsed.GetValue(_fast);
        await using ChainOperation operation = await OpenAsync(parsed, cancellationToken);
        _messages.WarnOf(operation.Chain);
        // Nothing of an overlay depends on data.
        Write(
            await operation.MeasureAsync(readsData, cancellationToken), readsData || operation is ChainSnapshot, _options.IsJson(parsed));
        return ExitCode.Success;
    }

    private async Task<ChainOperation> OpenAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        string top = parsed.GetRequiredValue(_options.Top);
        string active = parsed.GetValue(_active) ?? top;
        ChainOpenOptions open = _options.Read(parsed);
        if (parsed.GetValue(_commit) is { } target)
        {
            var how = new MergeOptions { TopPath = top, BasePath = target, DropBitmaps = parsed.GetValue(_drop) };
            return await ChainCommit.OpenAsync(active, how, open, isReadOnly: true, cancellationToken);
        }

        return parsed.GetValue(_pull)
            ? await ChainRebase.OpenPullAsync(
                active, new MergeOptions { TopPath = top, BasePath = parsed.GetValue(_base) }, open, isReadOnly: true, cancellationToken)
            : parsed.GetValue(_flatten)
                ? await ChainFlatten.OpenAsync(top, NewImage, open: open, cancellationToken: cancellationToken)
                : await ChainSnapshot.OpenAsync(
                    top, BackingPath.Combine(top, NewImage), open: open, cancellationToken: cancellationToken);
    }

    private void Write(ChainMeasurement measured, bool isExact, bool asJson)
    {
        if (!asJson)
        {
            _output.WriteLine($"{(isExact ? "required size" : "required size at most")}: {measured.Target.RequiredBytes}");
            if (measured.FullyAllocatedBytes is { } full)
            {
                _output.WriteLine($"fully allocated size: {full}");
            }

            _output.WriteLine($"current size: {measured.Target.CurrentBytes}");
            foreach (ImageRoom room in measured.Images.Where(room => room != measured.Target && room.RequiredBytes > room.CurrentBytes))
            {
                _output.WriteMessage($"'{room.Image}' grows too, from {room.CurrentBytes} to {room.RequiredBytes}");
            }

            foreach (BitmapChange change in measured.Forecast.Bitmaps)
            {
                _output.WriteLine(change.ToString());
            }

            return;
        }

        var json = new QemuJsonWriter(_output);
        json.StartObject();
        json.Number("required", measured.Target.RequiredBytes);
        if (measured.FullyAllocatedBytes is { } bytes)
        {
            json.Number("fully-allocated", bytes);
        }

        json.Number("current", measured.Target.CurrentBytes);
        json.Number("additional", measured.Target.RequiredBytes - measured.Target.CurrentBytes);
        json.Boolean("exact", isExact);
        json.StartArray("images");
        foreach (ImageRoom room in measured.Images)
        {
            json.StartObject();
            json.String("image", room.Image);
            json.Number("current", room.CurrentBytes);
            json.Number("required", room.RequiredBytes);
            json.EndObject();
        }

        json.EndArray();
        ChangeOutput.WriteMembers(measured.Forecast.Bitmaps, json);
        json.EndObject();
        json.Complete();
    }
}
