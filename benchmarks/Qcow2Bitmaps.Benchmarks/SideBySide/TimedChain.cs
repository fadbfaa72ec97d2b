using System.Diagnostics;
using System.Globalization;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Benchmarks.SideBySide;

/// <summary>
/// Times one operation on a chain, as a process does it that is running already, and prints the seconds, those of
/// the processor and the peak memory in KiB.
/// </summary>
internal static class TimedChain
{
    private const int WarmUps = 5;
    private const int WarmBytes = 16 << 20;

    public static async Task RunAsync(string kind, string top, string other)
    {
        string folder = Directory.CreateDirectory(top + ".warm").FullName;
        for (int i = 0; i < WarmUps; i++)
        {
            string number = i.ToString(CultureInfo.InvariantCulture);
            string below = Path.Combine(folder, number + ".base");
            string above = Path.Combine(folder, number + ".top");
            await MakeAsync(below, above);
            await DoAsync(kind, above, kind is "flatten" ? above + ".flat" : kind is "commit" ? below : "");
        }

        Directory.Delete(folder, recursive: true);
        using var process = Process.GetCurrentProcess();
        TimeSpan processor = process.TotalProcessorTime;
        long start = Stopwatch.GetTimestamp();
        await DoAsync(kind, top, other);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        process.Refresh();
        await Console.Out.WriteLineAsync(string.Create(
            CultureInfo.InvariantCulture,
            $"{seconds:F3} {(process.TotalProcessorTime - processor).TotalSeconds:F3} {process.PeakWorkingSet64 / 1024}"));
    }

    private static async Task MakeAsync(string below, string above)
    {
        await Qcow2Image.CreateAsync(below, new Qcow2CreateOptions { SizeBytes = WarmBytes });
        await using (ChainSnapshot snapshot = await ChainSnapshot.OpenAsync(below, above))
        {
            await snapshot.RunAsync();
        }

        byte[] data = new byte[WarmBytes];
        data.AsSpan().Fill(7);
        await using ImageChain written = await ImageChain.OpenAsync(above, new ChainOpenOptions { WritableLayers = [0] });
        await using Disk writer = await written.OpenWriterAsync();
        await writer.WriteAsync(0, data);
    }

    private static async Task DoAsync(string kind, string top, string other)
    {
        ChainOperation operation = kind switch
        {
            "commit" => await ChainCommit.OpenAsync(top, new MergeOptions { BasePath = other }),
            "flatten" => await ChainFlatten.OpenAsync(top, other),
            _ => await ChainRebase.OpenRebaseAsync(top, new MergeOptions { BasePath = other.Length == 0 ? null : other }),
        };
        await using (operation)
        {
            await operation.RunAsync();
        }
    }
}
