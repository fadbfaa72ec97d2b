using System.Text.RegularExpressions;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>What holds for all tests.</summary>
public sealed partial class TestRuleTests
{
    /// <summary>
    /// A busy machine fails no test: tests wait for events with <see cref="Patience"/>, and limits on time are its limit.
    /// </summary>
    [Fact]
    public void NoTestDependsOnTheMachinesSpeed()
    {
        string root = Path.Combine(Path.GetDirectoryName(FixtureFiles.Root)!, "tests");
        // Kills come at random moments on purpose, and a target that never ends waits for its cancellation.
        string[] allowed = [$"{nameof(Patience)}.cs", "KilledSessionTests.cs", "NullTarget.cs", $"{nameof(TestRuleTests)}.cs"];
        string[] waits = [..
            from path in Directory.EnumerateFiles(root, "*.cs", SearchOption.AllDirectories)
            where !path.Contains("/obj/", StringComparison.Ordinal) && !allowed.Contains(Path.GetFileName(path))
            from Match wait in Waits().Matches(File.ReadAllText(path))
            select $"{Path.GetFileName(path)}: {wait.Value}"];
        Assert.Empty(waits);
    }

    [GeneratedRegex(
        @"(TimeSpan\.From(Milliseconds|Seconds|Minutes)\(|Task\.Delay\(|Thread\.Sleep\(|Total(Milliseconds|Seconds)"
        + @"|\bTimeout = \d|[tT]imeoutMilliseconds).{0,40}",
        RegexOptions.ExplicitCapture,
        Patience.PatternMilliseconds)]
    private static partial Regex Waits();
}
