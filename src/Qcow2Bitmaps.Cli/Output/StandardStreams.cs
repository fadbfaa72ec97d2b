namespace Qcow2Bitmaps.Cli.Output;

/// <summary>
/// Standard output and error. On Linux without .NET's console, which sends codes to a terminal before the first byte, and starts a thread.
/// </summary>
internal static class StandardStreams
{
    public static bool IsOutputTerminal => OperatingSystem.IsLinux() ? DescriptorStream.IsTerminal(DescriptorStream.Output)
        : !Console.IsOutputRedirected;

    /// <summary>Call it before anything is opened: see <see cref="DescriptorStream.OccupyClosed"/>.</summary>
    public static void OccupyClosed()
    {
        if (OperatingSystem.IsLinux())
        {
            DescriptorStream.OccupyClosed();
        }
    }

    public static Stream OpenOutput() =>
        OperatingSystem.IsLinux() ? new DescriptorStream(DescriptorStream.Output) : Console.OpenStandardOutput();

    public static Stream OpenError() =>
        OperatingSystem.IsLinux() ? new DescriptorStream(DescriptorStream.Error) : Console.OpenStandardError();
}
