namespace Qcow2Bitmaps.Cli.Options;

/// <summary>What became of a number on the command line.</summary>
internal enum NumberSyntax
{
    /// <summary>It is one.</summary>
    Valid,
    /// <summary>It is none.</summary>
    Invalid,
    /// <summary>It is too large for 64 bits.</summary>
    OutOfRange,
}
