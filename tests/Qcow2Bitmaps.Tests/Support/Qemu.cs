using System.Diagnostics;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>QEMU's tools: what our results are compared with. Tests that need them skip where they are absent; CI forbids that.</summary>
internal static class Qemu
{
    private static readonly Lazy<string?> s_missing = new(FindMissing);

    /// <summary>Whether all of QEMU's tools are here.</summary>
    public static bool IsHere => s_missing.Value is null;

    /// <summary>Skips the running test unless all of QEMU's tools are here.</summary>
    public static void Require() => Assert.SkipWhen(s_missing.Value is not null, $"{s_missing.Value} is not installed");

    public static async Task<ProcessResult> ImgAsync(params string[] arguments)
    {
        while (true)
        {
            ProcessResult result = await RunAsync("qemu-img", null, arguments);
            // QEMU measures how fast it derives a key, and gives up where the kernel's clock of the thread has not moved meanwhile.
            if (result.ExitCode == 0 || !result.Error.Contains("Unable to get accurate CPU usage", StringComparison.Ordinal))
            {
                return result;
            }
        }
    }

    /// <summary>Runs qemu-img and expects success.</summary>
    public static async Task<string> ImgOkAsync(params string[] arguments)
    {
        ProcessResult result = await ImgAsync(arguments);
        Assert.True(result.ExitCode == 0, $"qemu-img {string.Join(' ', arguments)}: {result.Error}");
        return result.Output;
    }

    /// <summary>Runs qemu-io's commands on an image and expects success.</summary>
    public static async Task IoOkAsync(string image, params string[] commands)
    {
        ProcessResult result = await RunAsync(
            "qemu-io", null, ["-f", "qcow2", "-d", "unmap", .. commands.SelectMany(static c => new[] { "-c", c }), image]);
        Assert.True(
            result.ExitCode == 0 && !result.Output.Contains("failed", StringComparison.Ordinal), $"qemu-io: {result.Output}{result.Error}");
    }

    public static async Task<ProcessResult> RunAsync(string program, string? workingFolder, params string[] arguments)
    {
        using Process process = Start(program, workingFolder, arguments);
        process.StandardInput.Close();
        using var output = new MemoryStream();
        Task copying = process.StandardOutput.BaseStream.CopyToAsync(output);
        Task<string> error = process.StandardError.ReadToEndAsync();
        await Task.WhenAll(copying, error);
        await process.WaitForExitAsync();
        return new ProcessResult(process.ExitCode, output.ToArray(), await error);
    }

    public static Process Start(string program, string? workingFolder, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = workingFolder ?? "",
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            Environment = { ["TZ"] = "UTC", ["LC_ALL"] = "C.UTF-8" },
        };
        return Process.Start(start)!;
    }

    private static string? FindMissing() => Array.Find(
        ["qemu-img", "qemu-io", "qemu-nbd", "qemu-storage-daemon", "nbdinfo"],
        static tool => !(Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
            .Any(folder => new FileInfo(Path.Combine(folder, tool)).Exists));
}
