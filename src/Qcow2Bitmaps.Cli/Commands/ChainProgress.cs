using System.CommandLine;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Cli.Output;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>Progress of a long operation on a chain: with <c>-p</c>, and on a terminal unless asked for JSON.</summary>
internal sealed class ChainProgress(ToolWriter output)
{
    private const double MinStepPercent = 1;

    private readonly Option<bool> _progress = new("-p") { Arity = ArgumentArity.Zero, Description = "Show progress; on a terminal that is done anyway" };

    public void AddTo(Command command) => command.Add(_progress);

    /// <summary>Does the work, and shows how far it is.</summary>
    public async Task<T> RunAsync<T>(ParseResult parsed, bool isJson, ImageChain chain, Func<IProgress<long>, Task<T>> work, CancellationToken cancellationToken)
    {
        if (!parsed.GetValue(_progress) && (isJson || !output.IsTerminal))
        {
            return await work(new ProgressSteps(static _ => { }));
        }

        long total = await chain.GetSizeBytesAsync(cancellationToken);
        var progress = new ProgressOutput(output, MinStepPercent);
        progress.Start();
        try
        {
            T result = await work(new ProgressSteps(done => progress.Update(done, total)));
            progress.Update(total, total);
            return result;
        }
        finally
        {
            progress.End();
        }
    }
}
