namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>Who reads the output.</summary>
internal enum OutputFormat
{
    Human,
    Json,
}
