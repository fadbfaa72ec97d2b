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

    /// <summary><c>check</c>: corruptions were found.</summary>
    public const int Corruptions = 2;

    /// <summary><c>check</c>: leaked clusters were found, and nothing worse.</summary>
    public const int Leaks = 3;

    /// <summary><c>check</c>: the format has nothing to check.</summary>
    public const int CannotCheck = 63;

    /// <summary><c>compare</c>: the disks are different.</summary>
    public const int Different = 1;

    /// <summary><c>compare</c>: an image cannot be opened.</summary>
    public const int CannotOpen = 2;

    /// <summary><c>compare</c>: an image's tables cannot be read.</summary>
    public const int CannotMap = 3;

    /// <summary><c>compare</c>: an image's data cannot be read.</summary>
    public const int CannotRead = 4;
}
