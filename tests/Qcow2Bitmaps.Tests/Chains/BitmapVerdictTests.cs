using FsCheck.Fluent;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Chains;

/// <summary>Verdicts by libvirt's and oVirt's rules: on the fixtures, and on random chains against the rules said another way.</summary>
public sealed class BitmapVerdictTests
{
    private static readonly BitmapFlags?[] s_states =
        [null, BitmapFlags.Auto, BitmapFlags.Auto, BitmapFlags.None, BitmapFlags.InUse, BitmapFlags.InUse | BitmapFlags.Auto];

    public static TheoryData<FixtureChain> Chains => [.. FixtureIndex.Chains.Where(static chain => chain.Name != "missing-base-2")];

    [Theory]
    [MemberData(nameof(Chains))]
    public async Task FixturesAreJudgedAsTheIndexSays(FixtureChain fixture)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(
            fixture.Layers[0].Path, cancellationToken: TestContext.Current.CancellationToken);

        Assert.Equal(
            fixture.Layers.Select(static l => (l.Path, l.Format, l.VirtualSizeBytes)),
            chain.Layers.Select(static l => (l.Path, l.Format, l.VirtualSizeBytes)));
        IReadOnlyList<BitmapVerdict> verdicts = (await chain.JudgeBitmapsAsync(cancellationToken: TestContext.Current.CancellationToken));
        Assert.Equal(
            fixture.Verdicts.OrderBy(static v => v.Key, StringComparer.Ordinal),
            verdicts.Select(static v => KeyValuePair.Create(v.Name, ReasonOf(v)))
                .OrderBy(static v => v.Key, StringComparer.Ordinal));
        foreach (BitmapVerdict verdict in verdicts)
        {
            Assert.Equal(
                fixture.Layers.Select(static (layer, index) => (layer, index))
                    .Where(l => l.layer.Bitmaps.Any(b => b.Name == verdict.Name))
                    .Select(static l => l.index),
                verdict.ImageIndexes);
            Assert.Equal(verdict.IsValid, verdict.ImageIndex is null);
            Assert.Equal(verdict.IsValid && !verdict.SizesDiffer, verdict.Detail is null);
            Assert.Equal(verdict.Detail is null, verdict.Remedy is null);
            Assert.Equal(verdict.Detail is null, verdict.RemedyDetails is null);
            Assert.Equal(fixture.Name is "grown-2" or "shrunk-2", verdict.SizesDiffer);
        }
    }

    [Fact]
    public void RandomChainsAreJudgedByTheRules() => Properties.ForAll(
        Gen.Choose(0, s_states.Length - 1).ArrayOf(4).ArrayOf().Where(static layers => layers.Length is > 0 and <= 6),
        300,
        static layers =>
        {
            ImageChain chain = OpenAsync(layers).GetAwaiter().GetResult();
            for (int name = 0; name < 4; name++)
            {
                BitmapFlags?[] run = [.. layers.Select(states => s_states[states[name]])];
                Assert.Equal(ByLibvirt(run), Short(chain.JudgeBitmapAsync(Name(name)).GetAwaiter().GetResult()));
                Assert.Equal(
                    ByOvirt(run), Short(chain.JudgeBitmapAsync(Name(name), VerdictProfile.Ovirt).GetAwaiter().GetResult()));
            }
        });

    [Fact]
    public async Task EachFaultIsToldWithItsImage()
    {
        await using ImageChain chain = await OpenAsync([0, 1, 1, 1], [1, 0, 4, 3], [1, 1, 1, 1]);

        var verdicts = new List<BitmapVerdict>();
        for (int name = 0; name < 4; name++)
        {
            verdicts.Add(await chain.JudgeBitmapAsync(Name(name), cancellationToken: TestContext.Current.CancellationToken));
        }


        Assert.Equal(
            [(InvalidReason.MissingInTop, 0), (InvalidReason.Gap, 1), (InvalidReason.Inconsistent, 1), (InvalidReason.NotRecording, 1)],
            verdicts.Select(static v => (v.Reason!.Value, v.ImageIndex!.Value)));
        Assert.Contains(
            "image 1 (image1) does not hold bitmap 'n1', though image 2 (image2) below does", verdicts[1].Detail, StringComparison.Ordinal);
        Assert.Equal([1, 2], verdicts[0].ImageIndexes);
    }

    [Fact]
    public async Task AGapFarBelowMakesABitmapInvalidToo()
    {
        // The walk goes to the very end, past raw-looking nothing in between.
        await using ImageChain chain = await OpenAsync([1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [4, 0, 0, 0]);

        Assert.Equal(
            (InvalidReason.Gap, 2),
            ((await chain.JudgeBitmapAsync(Name(0), cancellationToken: TestContext.Current.CancellationToken)).Reason, (
                await chain.JudgeBitmapAsync(Name(0), cancellationToken: TestContext.Current.CancellationToken)).ImageIndex));
        Assert.Equal(
            (InvalidReason.Inconsistent, 4),
            ((await chain.JudgeBitmapAsync(Name(0), VerdictProfile.Ovirt, TestContext.Current.CancellationToken)).Reason, (
                await chain.JudgeBitmapAsync(Name(0), VerdictProfile.Ovirt, TestContext.Current.CancellationToken)).ImageIndex));
    }

    [Fact]
    public async Task ANameThatNobodyHoldsIsMissing()
    {
        await using ImageChain chain = await OpenAsync([1, 0, 0, 0]);

        BitmapVerdict verdict = (await chain.JudgeBitmapAsync("nobody", cancellationToken: TestContext.Current.CancellationToken));

        Assert.Equal((InvalidReason.MissingInTop, 0), (verdict.Reason, verdict.ImageIndex));
        Assert.Empty(verdict.ImageIndexes);
    }

    [Fact]
    public async Task OfARawImageThatAnotherProcessWritesNoBitmapKnows()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Locks are Linux's");
        using var folder = new TempFolder();
        string raw = folder.Write("base.raw", new byte[1 << 16]);
        byte[] format = [.. "raw"u8];
        var image = new TestImage(9, 1 << 16) { BackingFile = "base.raw" };
        image.Extensions.Add(new RawHeaderExtension(HeaderExtensionType.BackingFormat, format));
        string top = folder.Write("top.qcow2", image.WithBitmap("a").Build());
        await using var writer = Qcow2Bitmaps.Storage.FileStorage.Open(
            raw, FileAccess.ReadWrite, Qcow2Bitmaps.Storage.ImageLock.Write);
        var options = new ChainOpenOptions
        {
            Image = new Qcow2OpenOptions { Lock = Qcow2Bitmaps.Storage.ImageLock.None },
        };

        await using ImageChain chain = await ImageChain.OpenAsync(top, options, TestContext.Current.CancellationToken);

        Assert.True(chain.Layers[1].IsOpenForWritingElsewhere);
        foreach (VerdictProfile profile in Enum.GetValues<VerdictProfile>())
        {
            BitmapVerdict verdict = await chain.JudgeBitmapAsync("a", profile, TestContext.Current.CancellationToken);
            Assert.Equal((InvalidReason.OpenElsewhere, 1, Remedy.Wait), (verdict.Reason, verdict.ImageIndex, verdict.Remedy));
        }
    }

    [Fact]
    public async Task ABitmapWhoseTableIsBrokenIsUnreadable()
    {
        var image = new TestImage(9, 1 << 16).WithBitmap("a");
        byte[] bytes = image.Build();
        bytes[image.Bitmaps[0].TableOffset] = 0xff;
        byte[] top = new TestImage(9, 1 << 16) { BackingFile = "b" }.WithBitmap("a").Build();

        await using ImageChain chain = await MemoryChain.OpenAsync(top, bytes);

        BitmapVerdict verdict = await chain.JudgeBitmapAsync("a", cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal((InvalidReason.Unreadable, 1), (verdict.Reason, verdict.ImageIndex));
        Assert.Contains("[bitmap-table-entry-reserved]", verdict.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task TablesThatOverlapCostAVerdictNoTime()
    {
        // 2000 bitmaps with one table of 64 KiB for all: 128 MiB to read for a file of 1 MiB. The format allows 512 GiB for one of 12 MiB.
        var image = new TestImage(12, 1L << 37);
        image.WithBitmap("b0", 9);
        byte[] bytes = image.Build();
        TestBitmap first = image.Bitmaps[0];
        Assert.Equal(8192, first.TableEntries);
        const int Bitmaps = 2000;
        int directory = bytes.Length;
        const int EntryBytes = 32;
        Array.Resize(ref bytes, directory + (Bitmaps * EntryBytes));
        for (int i = 0; i < Bitmaps; i++)
        {
            var entry = new BitmapDirectoryEntry
            {
                TableOffset = (ulong)first.TableOffset,
                TableEntries = (uint)first.TableEntries,
                Flags = BitmapFlags.Auto,
                Type = 1,
                GranularityBits = 9,
                Name = System.Text.Encoding.ASCII.GetBytes(FormattableString.Invariant($"b{i:d4}")),
            };
            Assert.Equal(EntryBytes, entry.Write(bytes.AsSpan(directory + (i * EntryBytes))));
        }

        new BitmapsExtension(Bitmaps, 0, Bitmaps * EntryBytes, (ulong)directory).Write(bytes.AsSpan(image.BitmapsExtensionOffset));
        await using ImageChain chain = await MemoryChain.OpenAsync(bytes);
        var clock = System.Diagnostics.Stopwatch.StartNew();

        IReadOnlyList<BitmapVerdict> verdicts = await chain.JudgeBitmapsAsync(cancellationToken: TestContext.Current.CancellationToken);

        Assert.True(clock.Elapsed < Patience.Limit, clock.Elapsed.ToString());
        Assert.Equal(Bitmaps, verdicts.Count);
        Assert.All(verdicts, static v => Assert.Equal(InvalidReason.Unreadable, v.Reason));
    }

    [Theory]
    [InlineData(20, 0x10)]
    [InlineData(16, 9)]
    [InlineData(19, 200)]
    public async Task ALenientReaderDoesNotTakeABrokenDirectoryForAnAbsentBitmap(int offsetInEntry, byte value)
    {
        // Extra data over the directory's end, another type, a name over the end: the base holds the bitmap or not, nobody knows.
        var image = new TestImage(9, 1 << 16).WithBitmap("a", bits: [1]);
        byte[] bytes = image.Build();
        bytes[image.DirectoryOffset + offsetInEntry] = value;
        byte[] top = new TestImage(9, 1 << 16) { BackingFile = "b" }.WithBitmap("a").Build();
        var options = new ChainOpenOptions
        {
            Image = new Qcow2OpenOptions { Strictness = Strictness.Lenient },
        };

        await using ImageChain chain = await new MemoryChain(top, bytes).OpenAsync(options);

        foreach (VerdictProfile profile in Enum.GetValues<VerdictProfile>())
        {
            BitmapVerdict verdict = await chain.JudgeBitmapAsync("a", profile, TestContext.Current.CancellationToken);
            Assert.Equal((InvalidReason.Unreadable, 1), (verdict.Reason, verdict.ImageIndex));
        }
    }

    private static string Name(int index) => $"n{index}";

    private static Task<ImageChain> OpenAsync(params int[][] layers) => MemoryChain.OpenAsync(
        [.. layers.Select((states, depth) => Image(states, depth + 1 < layers.Length ? $"image{depth + 1}" : null))]);

    private static byte[] Image(int[] states, string? backingFile)
    {
        var image = new TestImage(9, 1 << 16) { BackingFile = backingFile };
        for (int name = 0; name < states.Length; name++)
        {
            if (s_states[states[name]] is { } flags)
            {
                image.WithBitmap(Name(name), flags: flags);
            }
        }

        return image.Build();
    }

    private static string ReasonOf(BitmapVerdict verdict) =>
        verdict.Reason is { } reason ? KebabCase.From(reason.ToString()) : "valid";

    private static (string Reason, int? Image) Short(BitmapVerdict verdict) => (ReasonOf(verdict), verdict.ImageIndex);

    private static (string Reason, int? Image) ByLibvirt(BitmapFlags?[] layers)
    {
        int run = layers.TakeWhile(static flags => flags is not null).Count();
        int bad = Array.FindIndex(layers, 0, run, static flags => flags != BitmapFlags.Auto);
        return run == 0 ? ("missing-in-top", 0)
            : bad >= 0 ? (FlagReason(layers[bad]), bad)
            : layers.Skip(run).Any(static flags => flags is not null) ? ("gap", run)
            : ("valid", null);
    }

    private static (string Reason, int? Image) ByOvirt(BitmapFlags?[] layers)
    {
        int missing = Array.IndexOf(layers, null);
        for (int i = 0; i < layers.Length; i++)
        {
            if (layers[i] is { } flags && flags != BitmapFlags.Auto)
            {
                return (FlagReason(flags), i);
            }

            if (layers[i] is not null && missing >= 0 && missing < i)
            {
                return ("gap", missing);
            }
        }

        return Array.TrueForAll(layers, static flags => flags is null) ? ("missing-in-top", 0) : ("valid", null);
    }

    private static string FlagReason(BitmapFlags? flags) => flags!.Value.HasFlag(BitmapFlags.InUse) ? "inconsistent" : "not-recording";
}
