namespace Qcow2Bitmaps.Cli.Options;

/// <summary>The result of parsing a number on the command line.</summary>
internal enum NumberSyntax
{
    /// <summary>It is a number.</summary>
    Valid,
    /// <summary>It is not a number.</summary>
    Invalid,
    /// <summary>It is too large for 64 bits.</summary>
    OutOfRange,
}
