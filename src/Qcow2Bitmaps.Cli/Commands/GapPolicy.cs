namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>What becomes of a bitmap that is not valid, and that would look valid once images are no longer part of the chain.</summary>
internal enum GapPolicy
{
    /// <summary>What those images have is marked in it.</summary>
    Mark,
    /// <summary>It records no longer.</summary>
    Disable,
}
