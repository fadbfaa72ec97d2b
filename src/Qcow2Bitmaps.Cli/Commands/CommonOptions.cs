using System.CommandLine;
using System.CommandLine.Parsing;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>The options that several commands share. Each command makes its own: an option belongs to one command.</summary>
internal static class CommonOptions
{
    public static Option<OutputFormat> Output() => new("--output")
    {
        Description = "'human' for people (default), 'json' for scripts",
        HelpName = "human|json",
        CustomParser = static result => OneOf(result, ("human", OutputFormat.Human), ("json", OutputFormat.Json)),
    };

    public static Option<string?> Format(string what, string name = "-f", string alias = "--format") => new(name, alias)
    {
        Description = $"The format of {what}: qcow2 or raw. Without it the first bytes decide, which the guest of a raw disk can write",
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

    /// <summary>A format whose fault the command itself tells, with an exit code of its own.</summary>
    public static Option<string?> AnyFormat(string what, string name = "-f") => new(name)
    {
        Description = $"The format of {what}: qcow2 or raw. Without it the first bytes decide, which the guest of a raw disk can write",
        HelpName = "FMT",
    };

    public static string UnknownDriver(string format) => ImageFormat.IsKnown(format)
        ? $"Images of format '{format}' are not read here; the formats are qcow2 and raw"
        : PrintableMessage.Of($"Unknown driver '{format}'");

    public static Option<bool> ForceShare(
        string description = "Read even while another process, a running VM for example, has the image open for writing") =>
        new("-U", "--force-share") { Arity = ArgumentArity.Zero, Description = description };

    public static Option<bool> Quiet(params string[] aliases) =>
        new("-q", aliases) { Arity = ArgumentArity.Zero, Description = "Print nothing but errors" };

    public static Option<string?> Rate(string alias) =>
        new(alias) { Description = "How many bytes of data are written in a second at most; 0 for no limit", HelpName = "SIZE" };

    /// <summary>All values that an option was given, also those that a later one replaces: qemu-img looks at some of them too.</summary>
    public static IEnumerable<string> Values(ParseResult parsed, Option option) =>
        parsed.GetResult(option)?.Tokens.Select(static token => token.Value) ?? [];

    public static Option<bool> Lenient() => new("--lenient")
    {
        Arity = ArgumentArity.Zero,
        Description = "For evidence and rescue: read what can be read of a broken image and warn of each fault, "
            + "instead of refusing it as QEMU does",
    };

    public static Option<string[]> AllowBacking() => new("--allow-backing")
    {
        Description = "A folder from which backing files and data files may be opened, besides the top image's own. May be repeated",
        HelpName = "DIR",
    };

    public static Argument<string> File(string name, string description) => new(name) { Description = description };

    /// <summary>Parses a word out of a few, in the words of qemu-img when it is none of them.</summary>
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
