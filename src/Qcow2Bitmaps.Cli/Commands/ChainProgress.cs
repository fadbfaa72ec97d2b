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
    /// for JSON.
    /// </summary>
    public async Task ForetellAsync(ParseResult parsed, bool isJson, MessageWriter messages, Func<Task<ChainResult>> rehearse)
    {
        if (IsShown(parsed, isJson))
        {
            foreach (BitmapChange change in (await rehearse()).Bitmaps)
            {
                messages.WriteLine($"To be done: {change}");
            }
        }
    }

    /// <summary>As the other one, for a measured operation: also prints how much each image grows.</summary>
    public async Task ForetellAsync(ParseResult parsed, bool isJson, MessageWriter messages, Func<ValueTask<ChainMeasurement>> measure)
    {
        if (!IsShown(parsed, isJson))
        {
            return;
        }

        ChainMeasurement measured = await measure();
        foreach (BitmapChange change in measured.Forecast.Bitmaps)
        {
            messages.WriteLine($"To be done: {change}");
        }

        foreach (ImageRoom room in measured.Images)
        {
            messages.WriteLine($"To be written: '{room.Image}' grows by {room.AdditionalBytes} bytes, to {room.RequiredBytes}");
        }
    }

    /// <summary>Does the work, and shows how far it is.</summary>
    public async Task<T> RunAsync<T>(
        ParseResult parsed, bool isJson, ImageChain chain, Func<IProgress<OperationProgress>, Task<T>> work)
    {
        if (!IsShown(parsed, isJson))
        {
            return await work(new ProgressSteps(static _ => { }));
        }

        long total = chain.SizeBytes;
        var progress = new ProgressOutput(output, MinStepPercent);
        progress.Start();
        try
        {
            T result = await work(new ProgressSteps(step => progress.Update(step.DoneBytes, total)));
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
