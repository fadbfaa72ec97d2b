namespace Qcow2Bitmaps.Cli;

/// <summary>The arguments as raw bytes: file and bitmap names need not be UTF-8, and .NET replaces invalid bytes.</summary>
internal static class RawArguments
{
    private const string CommandLineFile = "/proc/self/cmdline";

    /// <summary>
    /// The arguments in the form of <see cref="ImageText"/> if the system exposes their bytes; otherwise as .NET decoded them.
    /// </summary>
    public static string[] Of(string[] arguments)
    {
        if (!OperatingSystem.IsLinux()
            || Array.TrueForAll(arguments, static argument => !argument.Contains('\uFFFD', StringComparison.Ordinal)))
        {
            return arguments;
        }

        ReadOnlySpan<byte> bytes = File.ReadAllBytes(CommandLineFile);
        var raw = new List<string>();
        // Each argument ends with a NUL.
        for (int end = bytes.IndexOf((byte)0); end >= 0; end = bytes.IndexOf((byte)0))
        {
            raw.Add(ImageText.Decode(bytes[..end]));
            bytes = bytes[(end + 1)..];
        }

        // The program's own arguments come last, after those of the host.
        return raw.Count >= arguments.Length ? [.. raw.TakeLast(arguments.Length)] : arguments;
    }
}
