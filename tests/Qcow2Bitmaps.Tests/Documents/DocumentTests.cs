using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>
/// What the README and the pages of <c>docs/</c> show is so: programs compile and run, and commands print what stands below them.
/// </summary>
public sealed class DocumentTests
{
    public static TheoryData<string> Pages => [.. Document.Pages];

    [Theory]
    [MemberData(nameof(Pages))]
    public async Task BlocksRunAsShown(string page)
    {
        Document document = await Document.ReadAsync(page);
        IReadOnlyList<CodeBlock> blocks = document.Blocks();
        if (!blocks.Any(static block => block.Language is CodeBlock.CSharp or CodeBlock.Console))
        {
            return;
        }

        using DocumentFolder folder = await DocumentFolder.CreateAsync();
        // From the end, so that the places of those before stay; run from the start.
        var shown = new List<(CodeBlock Block, IReadOnlyList<string> Lines)>();
        IReadOnlyList<string> printed = [];
        foreach (CodeBlock block in blocks)
        {
            switch (block.Language)
            {
                case CodeBlock.Console:
                    shown.Add((block, await ConsoleSession.RunAsync(block, folder.Path)));
                    break;
                case CodeBlock.CSharp:
                    printed = await RunProgramAsync(page, block, folder.Path);
                    break;
                case CodeBlock.Output:
                    shown.Add((block, printed));
                    break;
                default:
                    break;
            }
        }

        if (Document.IsUpdating)
        {
            foreach ((CodeBlock block, IReadOnlyList<string> lines) in shown.AsEnumerable().Reverse())
            {
                document.Lines.RemoveRange(block.FirstLine, block.Lines.Count);
                document.Lines.InsertRange(block.FirstLine, lines);
            }

            await document.WriteAsync();
            return;
        }

        foreach ((CodeBlock block, IReadOnlyList<string> lines) in shown)
        {
            Assert.Equal(
                $"{page}:{block.FirstLine}\n" + block.Text,
                $"{page}:{block.FirstLine}\n" + string.Concat(lines.Select(static line => line + "\n")));
        }
    }

    [Theory]
    [MemberData(nameof(Pages))]
    public async Task EveryBlockSaysWhatItIs(string page)
    {
        Document document = await Document.ReadAsync(page);
        foreach (CodeBlock block in document.Blocks())
        {
            Assert.True(
                block.Language is CodeBlock.CSharp or CodeBlock.Console or CodeBlock.Output || CodeBlock.NotRun.Contains(block.Language),
                $"{page}:{block.FirstLine}: '{block.Language}' is no language that says whether the block is run");
        }

        int[] inBlocks = [.. document.Blocks().SelectMany(static block => Enumerable.Range(block.FirstLine, block.Lines.Count))];
        for (int i = 0; i < document.Lines.Count; i++)
        {
            Assert.False(
                document.Lines[i].StartsWith("    ", StringComparison.Ordinal) && !inBlocks.Contains(i),
                $"{page}:{i + 1}: indented code says nothing of its language: use a fence");
        }
    }

    [Theory]
    [MemberData(nameof(Pages))]
    public async Task LinksLeadSomewhere(string page)
    {
        Document document = await Document.ReadAsync(page);
        string folder = Path.GetDirectoryName(Path.Combine(Document.Root, page))!;
        int checkedLinks = 0;
        foreach (string line in document.Lines)
        {
            for (int start = line.IndexOf("](", StringComparison.Ordinal); start >= 0; start = line.IndexOf(
                "](", start + 1, StringComparison.Ordinal))
            {
                int end = line.IndexOf(')', start);
                string target = line[(start + 2)..end].Split('#')[0];
                if (target.Length > 0 && !target.Contains("://", StringComparison.Ordinal))
                {
                    Assert.True(Path.Exists(Path.Combine(folder, target)), $"{page}: '{target}' leads nowhere");
                    checkedLinks++;
                }
            }
        }

        Assert.True(checkedLinks > 0, $"{page} leads nowhere: each page names at least the one that it belongs to");
    }

    private static async Task<IReadOnlyList<string>> RunProgramAsync(string page, CodeBlock block, string folder)
    {
        string bin = Directory.CreateDirectory(Path.Combine(folder, ".bin")).FullName;
        string assembly = Path.Combine(bin, $"block{block.FirstLine}.dll");
        IReadOnlyList<string> diagnostics = SnippetCompiler.Compile(block.Text, assembly);
        Assert.True(diagnostics.Count == 0, $"{page}:{block.FirstLine}: {string.Join('\n', diagnostics)}");

        foreach (string library in (string[])["Qcow2Bitmaps.dll", "CommunityToolkit.HighPerformance.dll", "ZstdSharp.dll"])
        {
            File.Copy(Path.Combine(AppContext.BaseDirectory, library), Path.Combine(bin, library), overwrite: true);
        }

        ProcessResult result = await Qemu.RunAsync(
            "dotnet", folder, "exec", "--runtimeconfig", Path.Combine(AppContext.BaseDirectory, "Qcow2Bitmaps.Cli.runtimeconfig.json"),
            assembly);
        Assert.True(result.ExitCode == 0, $"{page}:{block.FirstLine}: {result.Output}{result.Error}");
        return result.Output.Length == 0 ? [] : result.Output.TrimEnd('\n').Split('\n');
    }
}
