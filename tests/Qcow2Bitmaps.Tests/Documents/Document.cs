using Qcow2Bitmaps.Tests.Fixtures;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>A page of the documentation, as lines, and what is put into it by the tests when they are told to.</summary>
internal sealed class Document
{
    private const string UpdateVariable = "QCOW2BITMAPS_UPDATE_DOCS";
    private const string Fence = "```";

    private Document(string path, List<string> lines)
    {
        Path = path;
        Lines = lines;
    }

    /// <summary>Whether documents are brought up to date instead of compared.</summary>
    public static bool IsUpdating => Environment.GetEnvironmentVariable(UpdateVariable) is "1";

    /// <summary>The repository's folder.</summary>
    public static string Root { get; } = System.IO.Path.GetFullPath(System.IO.Path.Combine(FixtureFiles.Root, ".."));

    /// <summary>All pages: the README and what stands in <c>docs/</c>, as paths from the root.</summary>
    public static IEnumerable<string> Pages =>
        Directory.EnumerateFiles(System.IO.Path.Combine(Root, "docs"), "*.md", SearchOption.AllDirectories)
        .Select(static path => System.IO.Path.GetRelativePath(Root, path)).Prepend("README.md").Order(StringComparer.Ordinal);

    /// <summary>The path from the root.</summary>
    public string Path { get; }

    public List<string> Lines { get; }

    public static async Task<Document> ReadAsync(string path) =>
        new(path, [.. (await File.ReadAllTextAsync(System.IO.Path.Combine(Root, path))).TrimEnd('\n').Split('\n')]);

    /// <summary>The fenced blocks, in order.</summary>
    public IReadOnlyList<CodeBlock> Blocks()
    {
        var blocks = new List<CodeBlock>();
        for (int i = 0; i < Lines.Count; i++)
        {
            if (!Lines[i].StartsWith(Fence, StringComparison.Ordinal))
            {
                continue;
            }

            int end = Lines.FindIndex(i + 1, static line => string.Equals(line, Fence, StringComparison.Ordinal));
            Assert.True(end > 0, $"{Path}:{i + 1}: the block has no end");
            blocks.Add(new CodeBlock(Lines[i][Fence.Length..], i + 1, Lines.GetRange(i + 1, end - i - 1)));
            i = end;
        }

        return blocks;
    }

    public Task WriteAsync() => WriteAsync(Path, string.Concat(Lines.Select(static line => line + "\n")));

    /// <summary>Compares a generated page with the one that is there; when updating, writes it.</summary>
    public static async Task ExpectAsync(string path, string text)
    {
        if (IsUpdating)
        {
            await WriteAsync(path, text);
        }

        string full = System.IO.Path.Combine(Root, path);
        string actual = new FileInfo(full).Exists ? await File.ReadAllTextAsync(full) : "";
        Assert.True(
            actual == text,
            $"{path} is not what is generated. Bring it up to date with: {UpdateVariable}=1 dotnet test --project tests/Qcow2Bitmaps.Tests "
            + $"--filter-namespace '*Documents*'");
    }

    private static Task WriteAsync(string path, string text) => File.WriteAllTextAsync(System.IO.Path.Combine(Root, path), text);
}
