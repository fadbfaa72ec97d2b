using System.Text.RegularExpressions;
using PublicApiGenerator;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.PublicApi;

/// <summary>The public surface changes only on purpose: a change shows in the diff of the approved text.</summary>
public sealed partial class PublicApiTests
{
    private const int MaxNamespaces = 5;
    private const int MaxTypes = 100;
    private const int MaxMembers = 600;

    private static readonly string s_actual = typeof(Qcow2Image).Assembly.GeneratePublicApi(
        new ApiGeneratorOptions
        {
            IncludeAssemblyAttributes = false,
            ExcludeAttributes = ["System.Runtime.CompilerServices.AsyncIteratorStateMachineAttribute"],
        }) + "\n";

    /// <summary>
    /// Each line of the text that is no attribute, brace, namespace or type is a member: values, constructors and overrides too.
    /// </summary>
    [Fact]
    public void IsSmall()
    {
        string[] lines = [.. s_actual.Split('\n')
            .Select(static line => line.Trim())
            .Where(static line => line is not ("" or ['[' or '{' or '}', ..]))];
        int namespaces = lines.Count(static line => line.StartsWith("namespace ", StringComparison.Ordinal));
        int types = lines.Count(static line => Types().IsMatch(line));
        int members = lines.Length - namespaces - types;

        Assert.True(
            namespaces <= MaxNamespaces && types <= MaxTypes && members <= MaxMembers,
            $"{namespaces} namespaces, {types} types and {members} members are public; "
            + $"at most {MaxNamespaces}, {MaxTypes} and {MaxMembers} may be");
    }

    [Fact]
    public async Task IsTheApprovedOne()
    {
        string folder = Path.Combine(FixtureFiles.Root, "..", "tests", "Qcow2Bitmaps.Tests", "PublicApi");
        string approved = await File.ReadAllTextAsync(
            Path.Combine(folder, "PublicApi.approved.txt"), TestContext.Current.CancellationToken);
        if (approved != s_actual)
        {
            string received = Path.Combine(AppContext.BaseDirectory, "PublicApi.received.txt");
            await File.WriteAllTextAsync(received, s_actual, TestContext.Current.CancellationToken);
            Assert.Fail($"The public API has changed. If that is meant, copy {received} over PublicApi.approved.txt.");
        }
    }

    [GeneratedRegex(
        @"^(public|protected) ((abstract|sealed|static|readonly|ref|new) )*(class|struct|enum|interface|delegate) ",
        RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, Patience.PatternMilliseconds)]
    private static partial Regex Types();
}
