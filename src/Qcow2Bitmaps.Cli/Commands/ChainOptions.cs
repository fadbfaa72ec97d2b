using System.CommandLine;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>The options that all commands have which change a chain.</summary>
internal sealed class ChainOptions
{
    private readonly Option<string?> _format;
    private readonly Option<string[]> _allowBacking = CommonOptions.AllowBacking();
    private readonly Option<OutputFormat> _form = CommonOptions.Output();

    public ChainOptions(string name, string description)
    {
        Top = CommonOptions.File(name, description);
        _format = CommonOptions.Format("the top image");
    }

    /// <summary>The top image.</summary>
    public Argument<string> Top { get; }

    public void AddTo(Command command)
    {
        command.Add(_format);
        command.Add(_form);
        command.Add(_allowBacking);
        command.Add(Top);
    }

    public bool IsJson(ParseResult parsed) => parsed.GetValue(_form) == OutputFormat.Json;

    public ChainOpenOptions Read(ParseResult parsed) => new()
    {
        TopFormat = parsed.GetValue(_format),
        AllowedFolders = parsed.GetValue(_allowBacking) ?? [],
    };
}
