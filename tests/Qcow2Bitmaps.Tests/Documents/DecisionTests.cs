using System.Text.RegularExpressions;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary><c>ARCHITECTURE.md</c> and <c>docs/decisions/</c> name code that exists, and the list has each page of decisions.</summary>
public sealed partial class DecisionTests
{
    private const string Map = "ARCHITECTURE.md";
    private const string List = "docs/decisions/README.md";

    private static readonly string[] s_sources = [.. Directory
        .EnumerateFiles(Path.Combine(Document.Root, "src"), "*.cs", SearchOption.AllDirectories)
        .Select(File.ReadAllText)];

    private static readonly HashSet<string> s_words = [.. s_sources
        .SelectMany(static text => Words().Matches(text))
        .Select(static match => match.Value)];

    public static TheoryData<string> Pages => [Map, .. Decisions()];

    [Theory]
    [MemberData(nameof(Pages))]
    public async Task NamesAreThoseOfTheCode(string page)
    {
        string text = string.Join('\n', (await Document.ReadAsync(page)).Lines);
        string[] missing = [..
            from Match name in Names().Matches(text)
            from Match word in Words().Matches(name.Value)
            where !s_words.Contains(word.Value) && word.Value != nameof(ArchitectureTests)
            select name.Value];
        Assert.Empty(missing);
    }

    [Fact]
    public async Task EachPageIsInTheList()
    {
        string list = string.Join('\n', (await Document.ReadAsync(List)).Lines);
        string[] missing = [..
            from page in Decisions()
            where page != List && !list.Contains($"]({Path.GetFileName(page)})", StringComparison.Ordinal)
            select page];
        Assert.Empty(missing);
    }

    [Fact]
    public void CodeCitesPagesThatExist() => Assert.All(
        s_sources.SelectMany(static text => Citations().Matches(text)).Select(static match => match.Value).Distinct(StringComparer.Ordinal),
        static page => Assert.Contains(page, Decisions()));

    private static IEnumerable<string> Decisions() =>
        Document.Pages.Where(static page => page.StartsWith("docs/decisions/", StringComparison.Ordinal));

    // Types and members stand in backquotes; what ends with .cs is looked at with the table of rooms.
    [GeneratedRegex(@"(?<=`)[A-Z][a-z]\w*(\.[A-Z]\w*)*(?=`)", RegexOptions.ExplicitCapture, Patience.PatternMilliseconds)]
    private static partial Regex Names();

    [GeneratedRegex(@"docs/decisions/[\w-]+\.md", RegexOptions.ExplicitCapture, Patience.PatternMilliseconds)]
    private static partial Regex Citations();

    [GeneratedRegex(@"\w+", RegexOptions.ExplicitCapture, Patience.PatternMilliseconds)]
    private static partial Regex Words();
}
