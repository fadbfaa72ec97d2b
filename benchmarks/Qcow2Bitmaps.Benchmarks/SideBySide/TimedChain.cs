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
        await using (ImageChain chain = await ImageChain.OpenAsync(below))
        {
            await ChainSnapshot.CreateAsync(chain, above);
        }

        byte[] data = new byte[WarmBytes];
        data.AsSpan().Fill(7);
        await using ImageChain written = await ImageChain.OpenAsync(above, new ChainOpenOptions { WritableLayers = [0] });
        await using GuestWriter writer = await written.OpenWriterAsync();
        await writer.WriteAsync(0, data);
    }

    private static async Task DoAsync(string kind, string top, string other)
    {
        await using ImageChain chain = await ChainAccess.OpenAsync(
            top, ChainOpenOptions.Default,
            look => kind is "flatten" ? [] : kind is "commit" ? ChainCommit.WritableLayers(look, 0, look.IndexOf(other)!.Value) : [0]);
        switch (kind)
        {
            case "commit":
                await ChainCommit.RunAsync(chain, 0, chain.IndexOf(other)!.Value);
                break;
            case "flatten":
                await ChainFlatten.RunAsync(chain, other);
                break;
            default:
                await using (ImageChain? backing = other.Length == 0 ? null : await ImageChain.OpenAsync(other))
                {
                    await ChainRebase.RebaseAsync(chain, backing);
                }

                break;
        }
    }
}
