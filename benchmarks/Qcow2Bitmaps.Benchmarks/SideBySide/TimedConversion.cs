using System.Diagnostics;
using System.Globalization;

namespace Qcow2Bitmaps.Benchmarks.SideBySide;

/// <summary>
/// Times one conversion, as a process does it that is running already, and prints the seconds, those of the
/// processor and the peak memory in KiB.
/// </summary>
internal static class TimedConversion
{
    private const int WarmUps = 5;

    public static async Task RunAsync(string warmUp, string source, string target, string format)
    {
        for (int i = 0; i < WarmUps; i++)
        {
            await ConvertAsync(warmUp, target + ".warm", format);
        }

        using var process = Process.GetCurrentProcess();
        TimeSpan processor = process.TotalProcessorTime;
        long start = Stopwatch.GetTimestamp();
        await ConvertAsync(source, target, format);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        process.Refresh();
        await Console.Out.WriteLineAsync(string.Create(
            CultureInfo.InvariantCulture,
            $"{seconds:F3} {(process.TotalProcessorTime - processor).TotalSeconds:F3} {process.PeakWorkingSet64 / 1024}"));
    }

    private static async Task ConvertAsync(string source, string target, string format)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(source);
        var options = new ConversionOptions { IsQcow2 = format is "qcow2", Flush = false };
        await DiskCopy.ConvertAsync([chain], target, options);
    }
}
