using Microsoft.Win32.SafeHandles;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Standard output and error without .NET's console, which sends codes to a terminal before the first byte.</summary>
internal static class StandardStreams
{
    private const int OutputDescriptor = 1;
    private const int ErrorDescriptor = 2;

    public static Stream OpenOutput() =>
        Console.IsOutputRedirected || OperatingSystem.IsWindows() ? Console.OpenStandardOutput() : OpenTerminal(OutputDescriptor);

    public static Stream OpenError() =>
        Console.IsErrorRedirected || OperatingSystem.IsWindows() ? Console.OpenStandardError() : OpenTerminal(ErrorDescriptor);

    /// <summary>Files and pipes use the console's stream: it waits for slow readers and shares a file's position.</summary>
    private static FileStream OpenTerminal(int descriptor) =>
        new(new SafeFileHandle(descriptor, ownsHandle: false), FileAccess.Write, bufferSize: 0);
}
