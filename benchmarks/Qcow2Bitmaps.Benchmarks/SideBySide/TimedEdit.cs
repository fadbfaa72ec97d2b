using System.Diagnostics;
using System.Globalization;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Benchmarks.SideBySide;

/// <summary>
/// Times one edit inside a process that has run edits of the same kind before, as a program that embeds the library and runs for long does.
/// </summary>
internal static class TimedEdit
{
    // A method is compiled with optimisations after 30 calls, on another thread.
    private const int WarmUpEdits = 40;
    // Loops over large tables are compiled for the tables that they meet.
    private const int LargeWarmUpEdits = 3;
    private const int CompilingMilliseconds = 500;

    /// <summary>
    /// Edits an image and prints the seconds from opening it to its being closed, those of the processor, and the peak memory in KiB.
    /// </summary>
    /// <param name="warmUpPath">A small image with the same bitmaps, of which copies are edited first, until the code that they
    /// run is compiled with optimisations.</param>
    /// <param name="path">The image.</param>
    /// <param name="kind"><c>merge</c> (a into b), <c>remove</c> (a), <c>remove-ignore</c> (a, without giving space
    /// back, as qemu-img) or <c>add100</c>.</param>
    public static async Task RunAsync(string warmUpPath, string path, string kind)
    {
        string copyPath = warmUpPath + ".copy";
        for (int i = 0; i < WarmUpEdits + LargeWarmUpEdits; i++)
        {
            File.Copy(i < WarmUpEdits ? warmUpPath : path, copyPath, overwrite: true);
            await EditAsync(copyPath, kind);
        }

        File.Delete(copyPath);
        await Task.Delay(CompilingMilliseconds);
        using var process = Process.GetCurrentProcess();
        TimeSpan processor = process.TotalProcessorTime;
        long start = Stopwatch.GetTimestamp();
        await EditAsync(path, kind);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        process.Refresh();
        await Console.Out.WriteLineAsync(string.Create(
            CultureInfo.InvariantCulture,
            $"{seconds:F3} {(process.TotalProcessorTime - processor).TotalSeconds:F3} {process.PeakWorkingSet64 / 1024}"));
    }

    private static async Task EditAsync(string path, string kind)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(ImageStorage.OpenFile(
            path, FileAccess.ReadWrite, ImageLock.Write, ignoreDiscards: kind == "remove-ignore"));
        await image.Bitmaps.EditAsync(edit =>
        {
            switch (kind)
            {
                case "merge":
                    edit.Merge("a", into: "b");
                    break;
                case "remove" or "remove-ignore":
                    edit.Remove("a");
                    break;
                default:
                    for (int i = 0; i < 100; i++)
                    {
                        edit.Add(string.Create(CultureInfo.InvariantCulture, $"added-{i}"));
                    }

                    break;
            }
        });
    }
}
