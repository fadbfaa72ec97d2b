using System.CommandLine;
using System.CommandLine.Parsing;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>The options that several commands share. Each command makes its own: an option belongs to one command.</summary>
internal static class CommonOptions
{
    /// <summary>An option without a value.</summary>
    public static Option<bool> Flag(string name, string description, params string[] aliases) =>
        new(name, aliases) { Arity = ArgumentArity.Zero, Description = description };

    /// <summary>An option with a value.</summary>
    public static Option<string?> Value(string name, string description, string valueName, params string[] aliases) =>
        new(name, aliases) { Description = description, HelpName = valueName };

    /// <summary>An option with a value that adds to the values given before.</summary>
    public static Option<string[]> Repeatable(string name, string description, string valueName) =>
        new(name) { Description = description, HelpName = valueName };

    public static Option<OutputFormat> Output() => new("--output")
    {
        Description = "'human' for people (default), 'json' for scripts",
        HelpName = "human|json",
        CustomParser = static result => OneOf(result, ("human", OutputFormat.Human), ("json", OutputFormat.Json)),
    };

    public static Option<string?> Format(string what, string name = "-f", string alias = "--format") => new(name, alias)
    {
        Description = $"Format of {what}: qcow2 or raw. Default: by the first bytes, which a raw disk's guest can forge",
        HelpName = "FMT",
        Validators =
        {
            static result =>
            {
                if (result.Tokens.Count > 0 && result.Tokens[^1].Value is not (ImageFormat.Qcow2 or ImageFormat.Raw))
                {
                    result.AddError($"Unknown driver '{result.Tokens[^1].Value}'; the formats are qcow2 and raw");
                }
            },
        },
    };

    /// <summary>A format option whose errors the command itself reports, with its own exit code.</summary>
    public static Option<string?> AnyFormat(string what, string name = "-f") => new(name)
    {
        Description = $"Format of {what}: qcow2 or raw. Default: by the first bytes, which a raw disk's guest can forge",
        HelpName = "FMT",
    };

    public static string UnknownDriver(string format) => ImageFormat.IsKnown(format)
        ? $"Images of format '{format}' are not read here; the formats are qcow2 and raw"
        : PrintableMessage.Of($"Unknown driver '{format}'");

    public static Option<bool> ForceShare(string description = "Read even if another process, such as a running VM, writes the image") =>
        Flag("-U", description, "--force-share");

    public static Option<bool> Quiet(params string[] aliases) => Flag("-q", "Print only errors", aliases);

    public static Option<string?> Rate(string alias) =>
        Value(alias, "Maximum rate of writing, in bytes per second; 0 for no limit", "SIZE");

    /// <summary>All values given for an option, including those that a later one replaces: qemu-img checks some of them too.</summary>
    public static IEnumerable<string> Values(ParseResult parsed, Option option) =>
        parsed.GetResult(option)?.Tokens.Select(static token => token.Value) ?? [];

    public static Option<bool> Lenient() =>
        Flag("--lenient", "Read what is readable of a broken image, and warn of each fault instead of refusing the image");

    public static Option<string[]> AllowBacking() => Repeatable(
        "--allow-backing", "Also open backing files and data files in this folder, not only in the top image's. Repeatable", "DIR");

    public static Argument<string> File(string name, string description) => new(name) { Description = description };

    /// <summary>Parses one of a few words; for any other word, reports qemu-img's error.</summary>
    public static T? OneOf<T>(ArgumentResult result, params ReadOnlySpan<(string Word, T Value)> words)
    {
        foreach ((string word, T value) in words)
        {
            if (string.Equals(result.Tokens[^1].Value, word, StringComparison.Ordinal))
            {
                return value;
            }
        }

        string option = result.Parent is OptionResult parent ? parent.Option.Name : "An argument";
        string allowed = words[0].Word;
        foreach ((string word, _) in words[1..])
        {
            allowed += " or " + word;
        }

        result.AddError($"{option} must be used with {allowed} as argument.");
        return default;
    }
}
