using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>Progress of a long operation on a chain: with <c>-p</c>, and on a terminal unless asked for JSON.</summary>
/// <param name="output">Takes it.</param>
/// <param name="quiet">The option that asks for none, if there is one.</param>
internal sealed class ChainProgress(ToolWriter output, Option<bool>? quiet = null)
{
    private const double MinStepPercent = 1;

    private readonly Option<bool> _progress = CommonOptions.Flag("-p", "Show progress (always shown on a terminal)");

    public void AddTo(Command command) => command.Add(_progress);

    /// <summary>
    /// Prints to standard error what will happen to bitmaps, before anything is written: with <c>-p</c>, and on a terminal unless asked
    /// for JSON. Of an operation on bitmaps alone also how much each image grows.
    /// </summary>
    public async Task ForetellAsync(
        ParseResult parsed, bool isJson, MessageWriter messages, ChainOperation operation, CancellationToken cancellationToken)
    {
        if (!IsShown(parsed, isJson))
        {
            return;
        }

        // Bitmaps are measured in any case; data take long.
        ChainMeasurement measured = await operation.MeasureAsync(MeasureDepth.Bitmaps, cancellationToken);
        foreach (BitmapChange change in measured.Forecast.Bitmaps)
        {
            messages.WriteLine($"To be done: {change}");
        }

        if (operation is ChainBitmaps or ChainPopulate)
        {
            foreach (ImageRoom room in measured.Images)
            {
                messages.WriteLine(
                    $"To be written: '{room.Image}' grows by {room.RequiredBytes - room.CurrentBytes} bytes, to {room.RequiredBytes}");
            }
        }
    }

    /// <summary>Does the work, and shows how far it is.</summary>
    public async Task<ChainResult> RunAsync(
        ParseResult parsed, bool isJson, ChainOperation operation, CancellationToken cancellationToken)
    {
        if (!IsShown(parsed, isJson))
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

    private bool IsShown(ParseResult parsed, bool isJson) =>
        !(quiet is not null && parsed.GetValue(quiet)) && (parsed.GetValue(_progress) || (!isJson && output.IsTerminal));
}
