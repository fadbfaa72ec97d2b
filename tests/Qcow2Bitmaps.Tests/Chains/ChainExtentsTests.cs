using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Chains;

/// <summary>A valid bitmap's bits, merged over its run, are those of QEMU's merge.</summary>
public sealed class ChainExtentsTests
{
    public static TheoryData<FixtureChain> Chains =>
        [.. FixtureIndex.Chains.Where(static chain => chain.Verdicts.Any(static v => v.Value == "valid"))];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Chains))]
    public async Task EqualsQemusMergeOfTheLayers(FixtureChain fixture)
    {
        Qemu.Require();
        await using ImageChain chain = await ImageChain.OpenAsync(fixture.Layers[0].Path, cancellationToken: Token);
        foreach (BitmapVerdict verdict
            in (await chain.JudgeBitmapsAsync(cancellationToken: TestContext.Current.CancellationToken)).Where(static v => v.IsValid))
        {
            long[] sizes = [.. verdict.ImageIndexes.Select(i => chain.Layers[i].VirtualSizeBytes).Distinct()];
            if (sizes.Length > 1)
            {
                // QEMU refuses to merge bitmaps of different sizes; ASizeThatDiffersIsCleanBehindItsEnd covers these.
                continue;
            }

            using var folder = new TempFolder();
            string top = folder.File("top.qcow2");
            File.Copy(fixture.Layers[0].Path, top);
            foreach (int index in verdict.ImageIndexes.Skip(1))
            {
                await Qemu.ImgOkAsync(
                    "bitmap", "--merge", verdict.Name, "-b", fixture.Layers[index].Path, "-F", "qcow2", top, verdict.Name);
            }

            IReadOnlyList<DirtyExtent> expected = await QemuBitmaps.ReadExtentsAsync(top, verdict.Name);
            Assert.Equal(expected, await ReadAsync(chain, verdict.Name));
            Assert.Equal(
                expected.Where(static e => e.IsDirty).Sum(static e => e.LengthBytes),
                await chain.CountDirtyBytesAsync(verdict.Name, Token));
        }
    }

    [Theory]
    [MemberData(nameof(Chains))]
    public async Task EqualsTheUnionOfTheGoldenMaps(FixtureChain fixture)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(fixture.Layers[0].Path, cancellationToken: Token);
        foreach (BitmapVerdict verdict
            in (await chain.JudgeBitmapsAsync(cancellationToken: TestContext.Current.CancellationToken)).Where(static v => v.IsValid))
        {
            FixtureBitmap topmost = fixture.Layers[0].Bitmaps.Single(b => b.Name == verdict.Name);
            var union = new DirtyBitmap(fixture.Layers[0].VirtualSizeBytes, topmost.GranularityBytes);
            foreach (int index in verdict.ImageIndexes)
            {
                int inLayer = fixture.Layers[index].Bitmaps.Select(static b => b.Name).ToList().IndexOf(verdict.Name);
                string map = await File.ReadAllTextAsync($"{fixture.Layers[index].GoldenPath}.{inLayer}.map", Token);
                foreach (DirtyExtent extent in QemuBitmaps.ParseMap(map).Where(e => e.IsDirty && e.OffsetBytes < union.SizeBytes))
                {
                    union.Set(extent.OffsetBytes, Math.Min(extent.EndBytes, union.SizeBytes) - extent.OffsetBytes);
                }
            }

            Assert.Equal(union.Extents(includeClean: true).ToList(), await ReadAsync(chain, verdict.Name));
        }
    }

    [Fact]
    public async Task ASizeThatDiffersIsCleanBehindItsEnd()
    {
        byte[] top = new TestImage(9, (1 << 20) + 512) { BackingFile = "b" }.WithBitmap("a", 12).Build();
        byte[] shorter = new TestImage(9, 1536).WithBitmap("a", 16, allOnesPages: 0).Build();

        await using ImageChain chain = await MemoryChain.OpenAsync(top, shorter);

        Assert.Equal(
            [new DirtyExtent(0, 4096, true), new DirtyExtent(4096, (1 << 20) + 512 - 4096, false)], await ReadAsync(chain, "a"));
    }

    [Theory]
    [InlineData(1 << 20, 1 << 19, 1 << 20, 1 << 19, 1 << 20)]
    [InlineData(1 << 19, 1 << 18, 1 << 20, 1 << 18, 1 << 19)]
    [InlineData(1 << 20, 1 << 20, 1 << 19, 0, 0)]
    [InlineData(1 << 18, 1 << 19, 1 << 20, 0, 0)]
    public async Task WhatAShorterLayerHidesIsDirty(long topSize, long middleSize, long baseSize, long dirtyStart, long dirtyEnd)
    {
        byte[] top = new TestImage(9, topSize) { BackingFile = "m" }.WithBitmap("a", 12).Build();
        byte[] middle = new TestImage(9, middleSize) { BackingFile = "b" }.WithBitmap("a", 12).Build();
        byte[] bottom = new TestImage(9, baseSize).WithBitmap("a", 12).Build();

        await using ImageChain chain = await MemoryChain.OpenAsync(top, middle, bottom);

        Assert.Equal(
            dirtyEnd > dirtyStart ? [new DirtyExtent(dirtyStart, dirtyEnd - dirtyStart, true)] : [],
            (await ReadAsync(chain, "a")).Where(static e => e.IsDirty));
        Assert.Equal(dirtyEnd - dirtyStart, await chain.CountDirtyBytesAsync("a", Token));
    }

    [Fact]
    public async Task AnInvalidBitmapIsRefusedWithItsVerdict()
    {
        FixtureChain gap = FixtureIndex.Chains.Single(static c => c.Name == "gap-3");
        await using ImageChain chain = await ImageChain.OpenAsync(gap.Layers[0].Path, cancellationToken: Token);

        BitmapStateException refusal = await Assert.ThrowsAsync<BitmapStateException>(() => ReadAsync(chain, "a"));

        Assert.Equal(
            (await chain.JudgeBitmapAsync("a", cancellationToken: TestContext.Current.CancellationToken)).ToString(), refusal.Message);
        Assert.Contains("gap", refusal.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<BitmapStateException>(async () => await chain.CountDirtyBytesAsync("a", Token));
    }

    private static async Task<List<DirtyExtent>> ReadAsync(ImageChain chain, string name)
    {
        var extents = new List<DirtyExtent>();
        await foreach (DirtyExtent extent in chain.ReadExtentsAsync(name, includeClean: true, cancellationToken: Token))
        {
            extents.Add(extent);
        }

        return extents;
    }
}
