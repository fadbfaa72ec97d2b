using System.Diagnostics;
using System.Globalization;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Progress as qemu-img prints it: in steps, each over the last one; for people with the rate and the time left.</summary>
/// <param name="output">Takes the progress; null for none.</param>
/// <param name="minStepPercent">How much there must be to tell.</param>
internal sealed class ProgressOutput(ToolWriter? output, double minStepPercent)
{
    private const double MinSecondsBetween = 0.5;

    private readonly long _started = Stopwatch.GetTimestamp();
    private double _shown;
    private double _shownSeconds;

    private double Seconds => Stopwatch.GetElapsedTime(_started).TotalSeconds;

    /// <summary>Shows that nothing is done yet.</summary>
    public void Start() => Show(0, "");

    /// <summary>Shows where the work is, if that is news.</summary>
    public void Update(long doneBytes, long totalBytes)
    {
        double percent = totalBytes == 0 ? 100 : Math.Min(100, 100.0 * doneBytes / totalBytes);
        bool isForPeople = output is { IsTerminal: true };
        if (percent > _shown + minStepPercent || percent >= 100 || (isForPeople && Seconds > _shownSeconds + MinSecondsBetween))
        {
            Show(percent, isForPeople ? Rate(doneBytes, totalBytes) : "");
        }
    }

    /// <summary>Ends the line.</summary>
    public void End() => output?.Write("\n");

    private string Rate(long doneBytes, long totalBytes)
    {
        double perSecond = doneBytes / Math.Max(Seconds, 0.001);
        double left = perSecond > 0 ? (totalBytes - doneBytes) / perSecond : 0;
        string time = TimeSpan.FromSeconds(
            Math.Min(left, TimeSpan.FromDays(99).TotalSeconds)).ToString(@"d\.hh\:mm\:ss", CultureInfo.InvariantCulture);
        // What is shorter than the last line leaves nothing of it behind.
        return string.Create(CultureInfo.InvariantCulture, $"  {SizeText.Of((ulong)perSecond)}/s, {time.TrimStart('0', '.')} left   ");
    }

    private void Show(double percent, string rate)
    {
        _shown = percent;
        _shownSeconds = Seconds;
        output?.Write(string.Create(CultureInfo.InvariantCulture, $"    ({percent:F2}/100%){rate}\r"));
        output?.Flush();
    }
}
