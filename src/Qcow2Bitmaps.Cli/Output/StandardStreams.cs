using Microsoft.Win32.SafeHandles;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Standard output and standard error without what .NET's console does to a terminal: it would send codes before the first byte.</summary>
internal static class StandardStreams
{
    private const int OutputDescriptor = 1;
    private const int ErrorDescriptor = 2;

    public static Stream OpenOutput() => OpenUnseekable(OutputDescriptor) ?? Console.OpenStandardOutput();

    public static Stream OpenError() => OpenUnseekable(ErrorDescriptor) ?? Console.OpenStandardError();

    /// <summary>A terminal or a pipe. A file is the console's: two descriptors of one file must share its position.</summary>
    private static FileStream? OpenUnseekable(int descriptor)
    {
        if (OperatingSystem.IsWindows())
        {
            return null;
        }

        try
        {
            var stream = new FileStream(new SafeFileHandle(descriptor, ownsHandle: false), FileAccess.Write, bufferSize: 0);
            return stream.CanSeek ? null : stream;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            // Closed: the console's stream says so when it is written.
            return null;
        }
    }
}
