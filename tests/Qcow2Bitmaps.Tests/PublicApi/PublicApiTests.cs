using Qcow2Bitmaps.Tests.Fixtures;

namespace Qcow2Bitmaps.Tests.PublicApi;

/// <summary>The public surface changes only on purpose: a change shows in the diff of the approved list.</summary>
public sealed class PublicApiTests
{
    [Fact]
    public async Task IsTheApprovedOne()
    {
        string folder = Path.Combine(FixtureFiles.Root, "..", "tests", "Qcow2Bitmaps.Tests", "PublicApi");
        string approved = await File.ReadAllTextAsync(
            Path.Combine(folder, "PublicApi.approved.txt"), TestContext.Current.CancellationToken);
        string actual = PublicApiText.Of(typeof(Qcow2Image).Assembly);
        if (approved != actual)
        {
            string received = Path.Combine(AppContext.BaseDirectory, "PublicApi.received.txt");
            await File.WriteAllTextAsync(received, actual, TestContext.Current.CancellationToken);
            Assert.Fail($"The public API has changed. If that is meant, copy {received} over PublicApi.approved.txt.");
        }
    }
}
