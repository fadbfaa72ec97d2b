using System.Diagnostics;
using System.Globalization;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>
/// Progress as qemu-img prints it: in steps, each overwriting the last; for people, with the rate and the remaining time.
/// </summary>
/// <param name="output">Receives the progress; null for none.</param>
/// <param name="minStepPercent">The smallest change that is shown.</param>
internal sealed class ProgressOutput(ToolWriter? output, double minStepPercent)
{
    private const double MinSecondsBetween = 0.5;

    private readonly long _started = Stopwatch.GetTimestamp();
    private double _shown;
    private double _shownSeconds;

    private double Seconds => Stopwatch.GetElapsedTime(_started).TotalSeconds;

    /// <summary>Shows 0 percent.</summary>
    public void Start() => Show(0, "");

    /// <summary>Shows the progress if it has changed enough.</summary>
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
        // Trailing spaces overwrite the end of a longer previous line.
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
