using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>Edits of images that QEMU made, with merges from another open image among them, that are stopped at any moment.</summary>
public sealed class FixtureCrashTests
{
    private const string Source = "source";

    private static readonly (string Name, Action<BitmapEdit, Qcow2Image> Steps)[] s_edits =
    [
        ("merge from another image", static (edit, other) => edit.Add("new", 65_536).Merge(other, Source, into: "new").Set("new", 0, 1)),
        ("replace all", static (edit, other) => edit.RemoveAll().Add("new").Merge(other, Source, into: "new").Disable("new")),
    ];

    private static readonly string[] s_few = ["cluster-512", "cluster-4k", "refcount-1", "all-dirty", "snapshots"];

    public static TheoryData<string, string> Trials
    {
        get
        {
            bool isAll = Environment.GetEnvironmentVariable("QCOW2BITMAPS_ALL_TRIALS") == "1";
            var trials = new TheoryData<string, string>();
            foreach (Fixture fixture
                in FixtureIndex.Images.Where(
                    static f => f.Format == "qcow2" && f.VirtualSizeBytes > 0 && new FileInfo(f.Path) is { Exists: true }))
            {
                string name = Path.GetFileNameWithoutExtension(fixture.RelativePath);
                if (isAll ? !name.StartsWith("v2-", StringComparison.Ordinal) && name != "corrupt-flag" : s_few.Contains(name))
                {
                    foreach ((string edit, _) in s_edits)
                    {
                        trials.Add(fixture.RelativePath, edit);
                    }
                }
            }

            return trials;
        }
    }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Trials))]
    public async Task EachStateThatACrashLeavesIsAsBeforeOrAsAfter(string fixture, string edit)
    {
        byte[] start = await File.ReadAllBytesAsync(FixtureIndex.Images.Single(f => f.RelativePath == fixture).Path, Token);
        ImageState before = await ImageState.ReadAsync(start);
        await using var storage = new CrashStorage(start);
        await using (Qcow2Image image = await EditCase.OpenAsync(storage))
        await using (Qcow2Image other = await OtherAsync(image.VirtualSizeBytes))
        {
            await image.Bitmaps.EditAsync(steps => s_edits.Single(e => e.Name == edit).Steps(steps, other), Token);
        }

        ImageState after = await ImageState.ReadAsync(storage.ToArray());
        Assert.True(after.IsSound && !after.Bitmaps.SequenceEqual(before.Bitmaps), after.ToString());
        (int asBefore, int asAfter) = (0, 0);
        foreach (CrashState crash in storage.States(exhaustive: 16, samples: 12))
        {
            ImageState state = await ImageState.ReadAsync(crash.Content);
            bool isAfter = state.IsSameAs(after);
            // What lazy refcounts had left behind is repaired on the way.
            Assert.True(
                isAfter || state.Bitmaps.SequenceEqual(before.Bitmaps),
                $"{fixture}, {edit}: {crash}: is neither as before nor as after\n{state}");
            Assert.True(state.IsSound || !before.IsSound, $"{fixture}, {edit}: {crash}: is not sound\n{state}");
            Assert.True(state.Guest.IsSameAs(before.Guest), $"{fixture}, {edit}: {crash}: the guest's data have changed");
            _ = isAfter ? asAfter++ : asBefore++;
        }

        Assert.True(asBefore > 0 && asAfter > 0);
    }

    /// <summary>Another image of that size, with other clusters and bits.</summary>
    private static async Task<Qcow2Image> OtherAsync(long sizeBytes)
    {
        byte[] bits = [.. Enumerable.Repeat((byte)0x42, (int)Math.Min(100, ((sizeBytes >> 14) + 7) / 8))];
        return await Qcow2Image.OpenAsync(
            new MemoryStorage(new TestImage(16, sizeBytes).WithBitmap(Source, 14, bits: bits).Build()), cancellationToken: Token);
    }
}
