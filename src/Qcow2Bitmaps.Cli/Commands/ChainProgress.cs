using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>Progress of a long operation on a chain: with <c>-p</c>, and on a terminal unless asked for JSON.</summary>
/// <param name="output">Receives the progress.</param>
/// <param name="quiet">The option that turns progress off, if there is one.</param>
internal sealed class ChainProgress(ToolWriter output, Option<bool>? quiet = null)
{
    private const double MinStepPercent = 1;

    private readonly Option<bool> _progress = CommonOptions.Flag("-p", "Show progress (always shown on a terminal)");

    public void AddTo(Command command) => command.Add(_progress);

    /// <summary>
    /// Does the work, and shows how far it is, but for work on bitmaps alone. Where that is shown, messages are told first what will happen
    /// to bitmaps, if there are any.
    /// </summary>
    public async Task<ChainResult> RunAsync(
        ParseResult parsed, bool isJson, ChainOperation operation, MessageWriter? messages, CancellationToken cancellationToken)
    {
        bool isShown = !(quiet is not null && parsed.GetValue(quiet))
            && (parsed.GetValue(_progress) || (!isJson && output.IsTerminal));
        if (isShown && messages is not null)
        {
            await ForetellAsync(operation, messages, cancellationToken);
        }

        if (!isShown || operation is ChainBitmaps or ChainPopulate)
        {
            return await operation.RunAsync(null, cancellationToken);
        }

        long total = operation.Chain.SizeBytes;
        var progress = new ProgressOutput(output, MinStepPercent);
        progress.Start();
        try
        {
            ChainResult result = await operation.RunAsync(
                new ProgressSteps(step => progress.Update(step.DoneBytes, total)), cancellationToken);
            progress.Update(total, total);
            return result;
        }
        finally
        {
            progress.End();
        }
    }

    private static async Task ForetellAsync(ChainOperation operation, MessageWriter messages, CancellationToken cancellationToken)
    {
        // Bitmaps are measured in any case; data take long.
        ChainMeasurement measured = await operation.MeasureBitmapsAsync(cancellationToken);
        foreach (BitmapChange change in measured.Forecast.Bitmaps)
        {
            messages.WriteLine($"To be done: {change}");
        }

        foreach (ImageRoom room in measured.Images.Where(_ => operation is ChainBitmaps or ChainPopulate))
        {
            messages.WriteLine(
                $"To be written: '{room.Image}' grows by {room.RequiredBytes - room.CurrentBytes} bytes, to {room.RequiredBytes}");
        }
    }
}
