namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Hands steps on at once, unlike <see cref="Progress{T}"/>, which does so later and in any order.</summary>
internal sealed class ProgressSteps(Action<long> step) : IProgress<long>
{
    public void Report(long value) => step(value);
}
