using System.Globalization;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Progress as qemu-img prints it: in steps, each over the last one.</summary>
/// <param name="output">Takes the progress; null for none.</param>
/// <param name="minStepPercent">How much there must be to tell.</param>
internal sealed class ProgressOutput(ToolWriter? output, double minStepPercent)
{
    private double _shown;

    /// <summary>Shows that nothing is done yet.</summary>
    public void Start() => Show(0);

    /// <summary>Shows where the work is, if that is news.</summary>
    public void Update(double percent)
    {
        if (percent > _shown + minStepPercent || percent >= 100)
        {
            Show(Math.Min(percent, 100));
        }
    }

    /// <summary>Ends the line.</summary>
    public void End() => output?.Write("\n");

    private void Show(double percent)
    {
        _shown = percent;
        output?.Write(string.Create(CultureInfo.InvariantCulture, $"    ({percent:F2}/100%)\r"));
        output?.Flush();
    }
}
