namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>A fenced block of a document.</summary>
/// <param name="Language">The tag behind the fence, which says what is done with the block.</param>
/// <param name="FirstLine">The index of its first line, behind the fence, in the document.</param>
/// <param name="Lines">What it holds.</param>
internal sealed record CodeBlock(string Language, int FirstLine, IReadOnlyList<string> Lines)
{
    /// <summary>A program: it is compiled and run.</summary>
    public const string CSharp = "csharp";

    /// <summary>A session: what stands behind <c>$</c> is run, and what stands below it is what it prints.</summary>
    public const string Console = "console";

    /// <summary>What the program in the block before prints.</summary>
    public const string Output = "output";

    /// <summary>
    /// The languages of blocks that are not run: drawings, formulas, and commands that a test of their own runs or that would run this one.
    /// </summary>
    public static readonly IReadOnlyList<string> NotRun = ["mermaid", "text"];

    public string Text => string.Concat(Lines.Select(static line => line + "\n"));
}
