namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Hands steps on at once, unlike <see cref="Progress{T}"/>, which does so later and in any order.</summary>
internal sealed class ProgressSteps(Action<OperationProgress> step) : IProgress<OperationProgress>
{
    public void Report(OperationProgress value) => step(value);
}
