namespace Qcow2Bitmaps.Cli;

/// <summary>The arguments as the bytes that they were: file and bitmap names need not be UTF-8, and .NET replaces what is not.</summary>
internal static class RawArguments
{
    private const string CommandLineFile = "/proc/self/cmdline";

    /// <summary>The arguments in the form of <see cref="ImageText"/>, where the system shows them; else as .NET has them.</summary>
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

        // The program's own arguments are the last ones, behind those of the host.
        return raw.Count >= arguments.Length ? [.. raw.TakeLast(arguments.Length)] : arguments;
    }
}
