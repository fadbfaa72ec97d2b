using System.Text.Json;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary><c>extents</c>: its JSON, its text, and what it refuses.</summary>
public sealed class ExtentsTests
{
    public static TheoryData<Fixture> Fixtures => [.. FixtureIndex.Images.Where(static f => f.Bitmaps.Any(static b => !b.IsInUse))];

    [Theory]
    [MemberData(nameof(Fixtures))]
    public async Task JsonSaysWhatTheGoldenMapsSay(Fixture fixture)
    {
        for (int i = 0; i < fixture.Bitmaps.Count; i++)
        {
            FixtureBitmap bitmap = fixture.Bitmaps[i];
            if (bitmap.IsInUse)
            {
                continue;
            }

            var expected = QemuBitmaps.ParseMap(
                await File.ReadAllTextAsync($"{fixture.GoldenPath}.{i}.map", TestContext.Current.CancellationToken));
            foreach (bool all in new[] { false, true })
            {
                string[] options = all ? ["--all", "--output=json"] : ["--output", "json"];
                ProcessResult result = await Support.Cli.RunAsync(["extents", .. options, fixture.Path, "--", bitmap.Name]);
                Assert.Equal(0, result.ExitCode);
                JsonElement root = JsonDocument.Parse(result.OutputBytes).RootElement;
                Assert.Equal(
                    ["bitmap", "granularity", "virtual-size", "dirty-count", "dirty-bytes", "extents"],
                    root.EnumerateObject().Select(static p => p.Name));
                Assert.Equal(bitmap.Name, root.GetProperty("bitmap").GetString());
                Assert.Equal(bitmap.GranularityBytes, root.GetProperty("granularity").GetInt64());
                Assert.Equal(fixture.VirtualSizeBytes, root.GetProperty("virtual-size").GetInt64());
                Assert.Equal(
                    expected.Where(static e => e.IsDirty).Sum(static e => e.LengthBytes), root.GetProperty("dirty-bytes").GetInt64());
                Assert.Equal(
                    expected.Where(static e => e.IsDirty).Sum(e => (e.LengthBytes + bitmap.GranularityBytes - 1) / bitmap.GranularityBytes),
                    root.GetProperty("dirty-count").GetInt64());
                Assert.Equal(
                    expected.Where(e => all || e.IsDirty).Select(static e => (e.OffsetBytes, e.LengthBytes, e.IsDirty)),
                    root.GetProperty("extents").EnumerateArray().Select(static e => (
                        e.GetProperty("offset").GetInt64(), e.GetProperty("length").GetInt64(), e.GetProperty("dirty").GetBoolean())));
            }
        }
    }

    [Fact]
    public async Task TextIsATableWithASum()
    {
        using var folder = new TempFolder();
        string path = folder.Write("a.qcow2", new TestImage(12, (1 << 20) + 512).WithBitmap("b", 16, bits: [0b101, 0, 1]).Build());

        ProcessResult dirty = await Support.Cli.RunAsync("extents", path, "b");
        ProcessResult all = await Support.Cli.RunAsync("extents", "--all", path, "b");

        Assert.Equal(
            """
            Offset          Length          State
            0x0             0x10000         dirty
            0x20000         0x10000         dirty
            0x100000        0x200           dirty
            3 dirty granules of 64 KiB: 128 KiB (131584 bytes) of 1 MiB

            """,
            dirty.Output);
        Assert.Contains("0x10000         0x10000         clean", all.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ChainIsMergedOrRefusedWithTheVerdict()
    {
        FixtureChain valid = FixtureIndex.Chains.Single(static c => c.Name == "granularities-3");
        FixtureChain gap = FixtureIndex.Chains.Single(static c => c.Name == "gap-3");

        ProcessResult merged = await Support.Cli.RunAsync("extents", "--chain", "--output=json", valid.Layers[0].Path, "a");
        ProcessResult refused = await Support.Cli.RunAsync("extents", "--chain", "--output=json", gap.Layers[0].Path, "a");

        Assert.Equal(0, merged.ExitCode);
        Assert.Equal(
            valid.Layers[0].Bitmaps[0].GranularityBytes,
            JsonDocument.Parse(merged.OutputBytes).RootElement.GetProperty("granularity").GetInt64());
        Assert.Equal(2, refused.ExitCode);
        Assert.Empty(refused.Output);
        Assert.StartsWith("qcow2bitmaps: Bitmap 'a' is not valid (gap): image 1 (", refused.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnInconsistentBitmapIsShownToLenientReadersOnly()
    {
        string path = FixtureIndex.Images.Single(static f => f.RelativePath == "images/in-use.qcow2").Path;
        string name = FixtureIndex.Images.Single(static f => f.RelativePath == "images/in-use.qcow2").Bitmaps[0].Name;

        ProcessResult refused = await Support.Cli.RunAsync("extents", path, name);
        ProcessResult evidence = await Support.Cli.RunAsync("extents", "--lenient", path, name);

        Assert.Equal((1, $"qcow2bitmaps: Bitmap '{name}' is inconsistent and cannot be used\n"), (refused.ExitCode, refused.Error));
        Assert.Equal(0, evidence.ExitCode);
        Assert.Contains("warning:", evidence.Error, StringComparison.Ordinal);
        Assert.Contains("[bitmap-in-use]", evidence.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WhatIsNotThereIsSaid()
    {
        string image = FixtureIndex.Images.Single(static f => f.RelativePath == "images/v3-plain.qcow2").Path;
        string raw = FixtureIndex.Images.Single(static f => f.RelativePath == "images/plain.raw").Path;

        ProcessResult absent = await Support.Cli.RunAsync("extents", image, "nobody");
        ProcessResult inRaw = await Support.Cli.RunAsync("extents", raw, "nobody");

        Assert.Equal((1, $"qcow2bitmaps: Dirty bitmap 'nobody' not found in '{image}'\n"), (absent.ExitCode, absent.Error));
        Assert.Equal((1, $"qcow2bitmaps: '{raw}' is raw and holds no bitmaps\n"), (inRaw.ExitCode, inRaw.Error));
    }
}
