using System.Diagnostics;
using System.Globalization;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>The program under test: a native file, where QCOW2BITMAPS_TOOL names one, or else the assembly beside the tests.</summary>
internal static class Tool
{
    private static readonly string? s_nativePath = Environment.GetEnvironmentVariable("QCOW2BITMAPS_TOOL") is { Length: > 0 } path
        ? Path.GetFullPath(path)
        : null;

    /// <summary>Whether a native file is tested.</summary>
    public static bool IsNative => s_nativePath is not null;

    /// <summary>The words that start the tool.</summary>
    public static IReadOnlyList<string> Command { get; } =
        s_nativePath is null ? ["dotnet", Path.Combine(AppContext.BaseDirectory, "Qcow2Bitmaps.Cli.dll")] : [s_nativePath];

    /// <summary>These words as a shell reads them; a function of the shell does not replace the program.</summary>
    public static string ShellCommand { get; } = $"command {string.Join(' ', Command.Select(Quote))}";

    /// <summary>Starts the tool in a folder, and waits for its end.</summary>
    public static Task<ProcessResult> RunAsync(string? workingFolder, params string[] arguments) =>
        Array.Exists(arguments, ImageText.HasInvalidBytes)
            // .NET passes no argument that is not UTF-8.
            ? Qemu.RunAsync("bash", workingFolder, "-c", $"exec {string.Join(' ', Command.Concat(arguments).Select(Quote))}")
            : Qemu.RunAsync(Command[0], workingFolder, [.. Command.Skip(1), .. arguments]);

    /// <summary>Starts the tool in a folder.</summary>
    public static Process Start(string? workingFolder, params string[] arguments) =>
        Qemu.Start(Command[0], workingFolder, [.. Command.Skip(1), .. arguments]);

    /// <summary>Starts the tool so that SIGINT ends it: a shell's background jobs, and what they start, ignore that.</summary>
    public static Process StartInterruptible(string? workingFolder, params string[] arguments) =>
        Qemu.Start("env", workingFolder, ["--default-signal=INT", .. Command, .. arguments]);

    private static string Quote(string word) => string.Concat(
        ["$'", .. ImageText.Encode(word).Select(static b => string.Create(CultureInfo.InvariantCulture, $@"\x{b:x2}")), "'"]);
}
