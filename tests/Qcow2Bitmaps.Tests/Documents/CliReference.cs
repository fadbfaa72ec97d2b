using System.CommandLine;
using System.CommandLine.Help;
using System.Globalization;
using System.Text;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>Writes the reference of all commands from the commands themselves.</summary>
internal static class CliReference
{
    private const int LineCharacters = 120;

    public static string Of(Command root)
    {
        var text = new StringBuilder(
            """
            # The commands

            The texts of `--help` on one page. The page is generated from the tool, and a test compares the two. See also the
            [examples](../README.md), the [differences from qemu-img](differences-from-qemu-img.md) and the
            [schemas](schemas/) of what `--output json` prints.


            """);
        Append(text, root, root.Name);
        return text.ToString().TrimEnd('\n') + "\n";
    }

    private static void Append(StringBuilder text, Command command, string path)
    {
        text.Append(CultureInfo.InvariantCulture, $"## {path}\n\n{Prose(command.Description)}\n\n");
        if (command.Subcommands.Count > 0)
        {
            foreach (Command child in command.Subcommands)
            {
                string name = $"{path} {child.Name}";
                text.Append(Wrap($"- [`{name}`](#{name.Replace(' ', '-')}): {Summary(child.Description)}", "\n  ")).Append('\n');
            }

            text.Append('\n');
        }
        else
        {
            text.Append(
                CultureInfo.InvariantCulture, $"```text\n{path} [options]{string.Concat(command.Arguments.Select(Synopsis))}\n```\n\n");
            AppendList(
                text, "Arguments",
                [.. command.Arguments.Select(static argument => (argument.HelpName ?? argument.Name, argument.Description))]);
            AppendList(
                text, "Options",
                [.. command.Options.Where(static option => !option.Hidden && option is not HelpOption)
                    .Select(static option => (Spelling(option), option.Description))]);
        }

        foreach (Command child in command.Subcommands)
        {
            Append(text, child, $"{path} {child.Name}");
        }
    }

    private static void AppendList(StringBuilder text, string head, (string Name, string? Description)[] rows)
    {
        if (rows.Length == 0)
        {
            return;
        }

        text.Append(CultureInfo.InvariantCulture, $"{head}:\n\n");
        foreach ((string name, string? description) in rows)
        {
            text.Append(Wrap($"- `{name}`: {Prose(description)}", "\n  ")).Append('\n');
        }

        text.Append('\n');
    }

    private static string Spelling(Option option) =>
        string.Join("`, `", option.Aliases.Prepend(option.Name).OrderBy(static name => name.Length))
            + (option.HelpName is { } value && option.Arity.MaximumNumberOfValues > 0 ? " " + value : "");

    private static string Synopsis(Argument argument) => (argument.Arity.MinimumNumberOfValues, argument.Arity.MaximumNumberOfValues) switch
    {
        (0, 1) => $" [{argument.HelpName ?? argument.Name}]",
        (0, _) => $" [{argument.HelpName ?? argument.Name}…]",
        (_, 1) => $" {argument.HelpName ?? argument.Name}",
        _ => $" {argument.HelpName ?? argument.Name}…",
    };

    /// <summary>A description as Markdown: what stands in angle brackets would be taken for HTML.</summary>
    private static string Prose(string? description) =>
        (description ?? "").Replace("<", "&lt;", StringComparison.Ordinal).Replace("\r", "", StringComparison.Ordinal).TrimEnd('\n');

    private static string Summary(string? description) => Prose(description).Split('\n')[0];

    private static string Wrap(string text, string lineBreak)
    {
        int length = 0;
        return string.Concat(text.Split(' ').Select(word =>
        {
            bool isNew = length + 1 + word.Length > LineCharacters;
            string between = length == 0 ? "" : isNew ? lineBreak : " ";
            length = isNew ? lineBreak.Length - 1 + word.Length : length + between.Length + word.Length;
            return between + word;
        }));
    }
}
