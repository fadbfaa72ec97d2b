using System.Text.RegularExpressions;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>The library says what is wrong; only the tool knows its own verbs and options.</summary>
public sealed partial class LibraryMessageTests
{
    [Fact]
    public void TheLibraryQuotesNoVerbAndNoOptionOfTheTool()
    {
        string folder = Path.Combine(Path.GetDirectoryName(FixtureFiles.Root)!, "src", "Qcow2Bitmaps");
        Assert.Empty(
            from path in Directory.EnumerateFiles(folder, "*.cs", SearchOption.AllDirectories)
            let name = Path.GetRelativePath(folder, path)
            where !name.StartsWith("obj/", StringComparison.Ordinal) && !name.StartsWith("bin/", StringComparison.Ordinal)
            from line in File.ReadLines(path)
            where !line.TrimStart().StartsWith("//", StringComparison.Ordinal)
            from Match text in Texts().Matches(line)
            where Quoted().IsMatch(text.Value)
            select $"{name}: {text.Value}");
    }

    [GeneratedRegex("\"(?:[^\"\\\\]|\\\\.)*\"", RegexOptions.CultureInvariant, Patience.PatternMilliseconds)]
    private static partial Regex Texts();

    [GeneratedRegex(
        "'(?:backup|bitmap|chain|check|commit|convert|create|info|measure|rebase|resize|snapshot)(?: [^']*)?'|(?<![\\w-])--[a-z]{3,}",
        RegexOptions.CultureInvariant, Patience.PatternMilliseconds)]
    private static partial Regex Quoted();
}
