namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>What can be written from the code is: it never says anything else than the code does.</summary>
public sealed class GeneratedDocumentTests
{
    private const string Errors = "docs/errors.md";

    [Fact]
    public Task CommandsAreThoseOfTheTool() => Document.ExpectAsync("docs/cli.md", CliReference.Of(Support.Cli.Root()));

    [Fact]
    public async Task CodesAreThoseOfTheLibrary()
    {
        string page = string.Concat((await Document.ReadAsync(Errors)).Lines.Select(static line => line + "\n"));
        string expected = Between(
            Between(page, "fault codes", FaultTable.OfFaults()), "unsupported reasons",
            FaultTable.OfReasons());
        await Document.ExpectAsync(Errors, expected);
    }

    [Fact]
    public async Task EachKindOfExceptionIsOnThePage()
    {
        IReadOnlyList<string> lines = (await Document.ReadAsync(Errors)).Lines;
        string[] missing = [.. typeof(Qcow2Exception).Assembly.GetExportedTypes()
            .Where(static type => type.IsSubclassOf(typeof(Qcow2Exception)))
            .Select(static type => type.Name)
            .Where(name => !lines.Any(line => line.StartsWith($"| `{name}` |", StringComparison.Ordinal)))];
        Assert.Empty(missing);
    }

    /// <summary>Puts a text between the two comments that name it.</summary>
    private static string Between(string page, string name, string text)
    {
        string start = $"<!-- {name} -->\n";
        string end = $"<!-- end of {name} -->\n";
        int from = page.IndexOf(start, StringComparison.Ordinal);
        int to = page.IndexOf(end, StringComparison.Ordinal);
        Assert.True(from >= 0 && to > from, $"the page has no place for {name}");
        return page[..(from + start.Length)] + text + page[to..];
    }
}
