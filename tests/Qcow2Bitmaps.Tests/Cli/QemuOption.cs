using System.Text.RegularExpressions;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>An option of a verb, as <c>qemu-img --help</c> lists it.</summary>
/// <param name="Verb">The verb; empty for an option before it.</param>
/// <param name="Name">The option.</param>
/// <param name="HasValue">Whether a value follows.</param>
internal sealed partial record QemuOption(string Verb, string Name, bool HasValue)
{
    private const int MinVerbs = 14;

    public static async Task<IReadOnlyList<QemuOption>> ReadAllAsync()
    {
        string help = await Qemu.ImgOkAsync("--help");
        string verbs =
            help[help.IndexOf("Command syntax:", StringComparison.Ordinal)..help.IndexOf("Command parameters:", StringComparison.Ordinal)];
        var options = new List<QemuOption>();
        foreach (string line in verbs.Split('\n').Where(static line => line.StartsWith("  ", StringComparison.Ordinal)))
        {
            string verb = line.Trim().Split(' ')[0];
            options.AddRange(
                Synopsis().Matches(line).Select(match => new QemuOption(verb, match.Groups["name"].Value, match.Groups["value"].Success)));
        }

        options.AddRange(
            Standard().Matches(help[..help.IndexOf("Command syntax:", StringComparison.Ordinal)]).Select(
                static match => new QemuOption("", match.Groups["name"].Value, match.Groups["name"].Value is "-T" or "--trace")));
        Assert.InRange(options.DistinctBy(static option => option.Verb).Count(), MinVerbs, int.MaxValue);
        return options;
    }

    [GeneratedRegex(
        @"(?<![\w-])(?<name>--?[A-Za-z][\w-]*)(?<value>=\w+| (?![-|])\w+| \[leaks)?", RegexOptions.ExplicitCapture,
        Patience.PatternMilliseconds)]
    private static partial Regex Synopsis();

    [GeneratedRegex(
        @"(?<=^ +('-\w', )?)'(?<name>--?\w+)'", RegexOptions.ExplicitCapture | RegexOptions.Multiline, Patience.PatternMilliseconds)]
    private static partial Regex Standard();
}
