namespace Qcow2Bitmaps.Cli.Options;

/// <summary>The value of an option of <c>-o</c>: as it was given, and as a number where it is one.</summary>
/// <param name="Text">The text.</param>
/// <param name="Number">The number; of a boolean 1 or 0.</param>
internal readonly record struct OptionValue(string Text, ulong Number = 0);
