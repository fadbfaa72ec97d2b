using PublicApiGenerator;
using Qcow2Bitmaps.Tests.Fixtures;

namespace Qcow2Bitmaps.Tests.PublicApi;

/// <summary>The public surface changes only on purpose: a change shows in the diff of the approved text.</summary>
public sealed class PublicApiTests
{
    private static readonly string s_actual = typeof(Qcow2Image).Assembly.GeneratePublicApi(
        new ApiGeneratorOptions
        {
            IncludeAssemblyAttributes = false,
            ExcludeAttributes = ["System.Runtime.CompilerServices.AsyncIteratorStateMachineAttribute"],
        }) + "\n";

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
}
