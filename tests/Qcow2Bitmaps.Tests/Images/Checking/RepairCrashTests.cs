using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Checking;

/// <summary>
/// A repair that is stopped at any moment leaves an image that is no worse than it was, and that a second repair brings to the same end.
/// </summary>
public sealed class RepairCrashTests
{
    private static readonly string[] s_bases = [
        "cluster-4k", "snapshots", "compression-zlib", "extended-l2", "refcount-1", "refcount-8", "v2-snapshot", "cluster-512",
        "preallocated",
    ];

    public static TheoryData<string, int> Mutations =>
        [.. s_bases.SelectMany(static b => Enumerable.Range(200, 6).Select(seed => (b, seed)))];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Mutations))]
    public async Task EachStateThatACrashLeavesIsNoWorse(string name, int seed)
    {
        byte[] image = await File.ReadAllBytesAsync(Path.Combine(FixtureFiles.Root, "images", name + ".qcow2"), Token);
        byte[] broken = new TableMutation(image, seed).Apply();
        CheckReport before = await CheckAsync(broken);
        await using var storage = new CrashStorage(broken);
        CheckReport end = await RepairAsync(storage);

        foreach (CrashState crash in storage.States(samples: 8))
        {
            CheckReport found = await CheckAsync(crash.Content);
            // Flags follow counts a moment later, so that their number may rise in between; a use that is not counted may not.
            Assert.True(Uncounted(found) <= Uncounted(before), $"{name} {seed}: {crash}: {Uncounted(before)} became {Uncounted(found)}");
            Assert.True(Structural(found) <= Structural(before), $"{name} {seed}: {crash}");
            await using var again = new MemoryStorage(crash.Content);
            CheckReport repaired = await RepairAsync(again);
            Assert.Equal((end.Corruptions, end.Leaks, end.CheckErrors), (repaired.Corruptions, repaired.Leaks, repaired.CheckErrors));
        }
    }

    /// <summary>Clusters that are used more often than counted: what a writer would write over.</summary>
    private static int Uncounted(CheckReport report) =>
        report.Findings.Count(static f => f.Message.StartsWith("ERROR cluster ", StringComparison.Ordinal));

    private static int Structural(CheckReport report) => report.Findings.Count(static f =>
        f.Kind != CheckFindingKind.Leak
            && !f.Message.StartsWith("ERROR cluster ", StringComparison.Ordinal)
            && !f.Message.StartsWith("ERROR OFLAG_COPIED", StringComparison.Ordinal));

    private static async Task<CheckReport> CheckAsync(byte[] content)
    {
        await using var storage = MemoryStorage.ReadOnly(content);
        await using Qcow2Image image = await Qcow2Image.OpenForCheckAsync(storage, cancellationToken: Token);
        return await image.CheckAsync(Token);
    }

    private static async Task<CheckReport> RepairAsync(ImageStorage storage)
    {
        await using Qcow2Image image = await Qcow2Image.OpenForCheckAsync(storage, cancellationToken: Token);
        return await image.RepairAsync(RepairKinds.All, Token);
    }
}
