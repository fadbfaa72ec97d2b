using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>Progress of a backup or a restore: with <c>-p</c>, and on a terminal unless asked for JSON.</summary>
internal sealed class BackupProgressLine(ToolWriter output)
{
    private const double MinStepPercent = 1;

    private readonly Option<bool> _progress = CommonOptions.Flag("-p", "Show progress (always shown on a terminal)");

    public void AddTo(Command command) => command.Add(_progress);

    /// <summary>Does the work, and shows its progress.</summary>
    public async Task<T> RunAsync<T>(ParseResult parsed, bool isJson, Func<IProgress<OperationProgress>?, Task<T>> work)
    {
        if (!parsed.GetValue(_progress) && (isJson || !output.IsTerminal))
        {
            return await work(null);
        }

        var line = new ProgressOutput(output, MinStepPercent);
        line.Start();
        try
        {
            T result = await work(new ProgressSteps(step => line.Update(step.DoneBytes, step.TotalBytes)));
            line.Update(1, 1);
            return result;
        }
        finally
        {
            line.End();
        }
    }
}
