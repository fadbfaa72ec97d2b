namespace Qcow2Bitmaps.Cli.Options;

/// <summary>What the value of an option of <c>-o</c> is.</summary>
internal enum OptionKind
{
    Text,
    Boolean,
    Number,
    Size,
}
