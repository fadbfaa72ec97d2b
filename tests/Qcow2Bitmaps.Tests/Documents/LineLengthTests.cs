using Qcow2Bitmaps.Tests.Fixtures;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>No line of a source or of a page is longer than 140 characters.</summary>
/// <remarks>
/// Two kinds of lines of a page cannot be broken: a row of a table, and what a program prints, which is compared with the program.
/// </remarks>
public sealed class LineLengthTests
{
    private const int MaxCharacters = 140;

    private static readonly string s_root = Path.GetDirectoryName(FixtureFiles.Root)!;

    [Fact]
    public void SourcesHaveNoLongLines() =>
        Assert.Empty(Files("*.cs").SelectMany(static path => LongLines(path, File.ReadLines(path))));

    [Fact]
    public void PagesHaveNoLongLines() =>
        Assert.Empty(Files("*.md").SelectMany(static path => LongLines(path, WithoutUnbreakable(path))));

    private static IEnumerable<string> Files(string pattern) =>
        from path in Directory.EnumerateFiles(s_root, pattern, new EnumerationOptions { RecurseSubdirectories = true })
        let name = Path.GetRelativePath(s_root, path)
        where !name.Split('/').Any(static part => part is "bin" or "obj")
        select path;

    private static IEnumerable<string> LongLines(string path, IEnumerable<string> lines) => lines
        .Select((line, i) => (line, Name: $"{Path.GetRelativePath(s_root, path)}:{i + 1}"))
        .Where(static one => one.line.Length > MaxCharacters)
        .Select(static one => one.Name);

    /// <summary>The lines of a page; those that cannot be broken are empty.</summary>
    private static IEnumerable<string> WithoutUnbreakable(string path)
    {
        bool isPrinted = false;
        bool isCode = false;
        foreach (string line in File.ReadLines(path))
        {
            if (line.StartsWith("```", StringComparison.Ordinal))
            {
                isCode = !isCode;
                isPrinted = line is "```console" or "```output";
            }

            bool isCommand = line.StartsWith("$ ", StringComparison.Ordinal);
            yield return (isPrinted && !isCommand) || (!isCode && line.StartsWith('|')) ? "" : line;
        }
    }
}
