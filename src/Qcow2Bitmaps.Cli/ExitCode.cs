namespace Qcow2Bitmaps.Cli;

/// <summary>The exit codes of all commands.</summary>
internal static class ExitCode
{
    /// <summary>Done; every bitmap that was asked about is valid.</summary>
    public const int Success = 0;

    /// <summary>An error: wrong usage, an image that cannot be opened or read.</summary>
    public const int Error = 1;

    /// <summary>A bitmap is not valid over its chain.</summary>
    public const int Invalid = 2;
}
