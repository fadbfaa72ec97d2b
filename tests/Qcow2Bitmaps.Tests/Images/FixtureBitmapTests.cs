using System.Globalization;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images;

/// <summary>The bitmaps of every fixture are those that the index says, and their bits those that QEMU reads.</summary>
public sealed class FixtureBitmapTests
{
    private static readonly Lazy<IReadOnlyDictionary<(string Path, int Index), string>> s_sha256 = new(ReadSha256);

    public static TheoryData<Fixture> Qcow2Fixtures =>
        [.. FixtureIndex.Images.Concat(FixtureIndex.Chains.SelectMany(static chain => chain.Layers))
            .Where(static f => f.Format == "qcow2")];

    public static TheoryData<Fixture> FixturesWithBitmaps =>
        [.. Qcow2Fixtures.Select(static row => row.Data).Where(static f => f.Bitmaps.Count > 0)];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Qcow2Fixtures))]
    public async Task ListIsTheIndexes(Fixture fixture)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(fixture.Path, cancellationToken: Token);

        Assert.Equal(fixture.VirtualSizeBytes, image.VirtualSizeBytes);
        Assert.Equal(fixture.Bitmaps, image.Bitmaps.Select(static b => new FixtureBitmap(
            b.Name, b.GranularityBytes, b.Flags.HasFlag(BitmapFlags.Auto), b.Flags.HasFlag(BitmapFlags.InUse))));
        Assert.All(image.Bitmaps, static b => Assert.Equal(
            b.Flags.HasFlag(BitmapFlags.InUse) ? BitmapState.Inconsistent
                : b.Flags.HasFlag(BitmapFlags.Auto) ? BitmapState.Recording
                : BitmapState.Disabled,
            b.State));
    }

    [Theory]
    [MemberData(nameof(FixturesWithBitmaps))]
    public async Task BitsAreThoseThatQemuOnceRead(Fixture fixture)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(fixture.Path, cancellationToken: Token);
        foreach (BitmapInfo bitmap in image.Bitmaps.Where(static b => b.State != BitmapState.Inconsistent))
        {
            string map = await File.ReadAllTextAsync(
                string.Create(CultureInfo.InvariantCulture, $"{fixture.GoldenPath}.{bitmap.Index}.map"), Token);
            await AssertBitsAsync(image, bitmap.Name, QemuBitmaps.ParseMap(map));
            DirtyBitmap loaded = await image.Bitmaps.LoadAsync(bitmap.Name, cancellationToken: Token);
            Assert.Equal(s_sha256.Value[(fixture.RelativePath, bitmap.Index)], Convert.ToHexStringLower(loaded.Sha256()));
        }
    }

    [Theory]
    [MemberData(nameof(FixturesWithBitmaps))]
    public async Task BitsAreThoseThatQemuReadsNow(Fixture fixture)
    {
        Qemu.Require();
        await using Qcow2Image image = await Qcow2Image.OpenAsync(fixture.Path, cancellationToken: Token);
        // Of the image with 40 bitmaps a few will do: each takes a server.
        foreach (BitmapInfo bitmap in image.Bitmaps.Where(static b => b.State != BitmapState.Inconsistent && b.Index < 6))
        {
            if (fixture.RelativePath is "images/luks.qcow2" or "images/aes.qcow2" || bitmap.Name.AsSpan().ContainsAny("\n,:"))
            {
                // nbdinfo cannot name it, or QEMU wants a key; the golden maps cover these.
                continue;
            }

            await AssertBitsAsync(image, bitmap.Name, await QemuBitmaps.ReadExtentsAsync(fixture.Path, bitmap.Name));
        }
    }

    [Theory]
    [MemberData(nameof(FixturesWithBitmaps))]
    public async Task InconsistentBitsAreForLenientReadersOnly(Fixture fixture)
    {
        await using Qcow2Image strict = await Qcow2Image.OpenAsync(fixture.Path, cancellationToken: Token);
        await using Qcow2Image lenient = await Qcow2Image.OpenAsync(
            fixture.Path, options: new Qcow2OpenOptions { Strictness = Strictness.Lenient }, cancellationToken: Token);
        foreach (BitmapInfo bitmap in strict.Bitmaps.Where(static b => b.State == BitmapState.Inconsistent))
        {
            BitmapStateException refusal = await Assert.ThrowsAsync<BitmapStateException>(
                async () => await strict.Bitmaps.LoadAsync(bitmap.Name, cancellationToken: Token));
            Assert.Equal($"Bitmap '{bitmap.Name}' is inconsistent and cannot be used", refusal.Message);

            var findings = new List<FormatFault>();
            DirtyBitmap evidence = await lenient.Bitmaps.LoadAsync(bitmap.Name, findings, Token);
            Assert.Contains(findings, static finding => finding.Code == FaultCode.BitmapInUse);
            Assert.Equal(strict.VirtualSizeBytes, evidence.SizeBytes);
        }
    }

    [Fact]
    public async Task BitmapsThatQemuIgnoresAreShownToLenientReaders()
    {
        string path = FixtureIndex.Images.Single(static f => f.RelativePath == "images/autoclear-off.qcow2").Path;

        await using Qcow2Image strict = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        await using Qcow2Image lenient = await Qcow2Image.OpenAsync(
            path, options: new Qcow2OpenOptions { Strictness = Strictness.Lenient }, cancellationToken: Token);

        Assert.Empty(strict.Bitmaps);
        Assert.Contains(strict.Findings, static f => f.Code == FaultCode.BitmapsExtensionAutoclearOff);
        Assert.NotEmpty(lenient.Bitmaps);
        Assert.All(lenient.Bitmaps, static b => Assert.Equal(BitmapState.Inconsistent, b.State));
        Assert.True((await lenient.Bitmaps.LoadAsync(lenient.Bitmaps[0].Name, cancellationToken: Token)).Count().Bits > 0);
    }

    [Fact]
    public async Task TwoBitmapsOfOneNameAreToldApart()
    {
        var image = new TestImage().WithBitmap("a", bits: [1]).WithBitmap("a", bits: [6]);
        await using Qcow2Image lenient = await image.OpenAsync(Strictness.Lenient);

        Assert.Equal(1, (await lenient.Bitmaps.CountAsync("a", Token)).Bits);
        Assert.Equal(1, (await lenient.Bitmaps.CountAsync(lenient.Bitmaps[0], Token)).Bits);
        Assert.Equal(2, (await lenient.Bitmaps.CountAsync(lenient.Bitmaps[1], Token)).Bits);
        Assert.Equal(2, (await lenient.Bitmaps.LoadAsync(lenient.Bitmaps[1], cancellationToken: Token)).Count().Bits);
        await using Qcow2Image other = await image.OpenAsync(Strictness.Lenient);
        await Assert.ThrowsAsync<ArgumentException>(async () => await lenient.Bitmaps.CountAsync(other.Bitmaps[0], Token));
        await Assert.ThrowsAsync<Qcow2FormatException>(() => image.OpenAsync());
    }

    private static async Task AssertBitsAsync(Qcow2Image image, string name, IReadOnlyList<DirtyExtent> expected)
    {
        DirtyBitmap loaded = await image.Bitmaps.LoadAsync(name, cancellationToken: Token);
        Assert.Equal(expected, loaded.Extents(includeClean: true).ToList());

        var streamed = new List<DirtyExtent>();
        await foreach (DirtyExtent extent in image.Bitmaps.ReadExtentsAsync(name, includeClean: true, cancellationToken: Token))
        {
            streamed.Add(extent);
        }

        Assert.Equal(expected, streamed);
        Assert.Equal(loaded.Count(), await image.Bitmaps.CountAsync(name, Token));
        Assert.Equal(expected.Where(static e => e.IsDirty).Sum(static e => e.LengthBytes), loaded.Count().Bytes);
    }

    private static Dictionary<(string Path, int Index), string> ReadSha256() =>
        File.ReadLines(Path.Combine(FixtureFiles.Root, "golden", "sha256.txt"))
            .Select(static line => line.Split('\t'))
            .ToDictionary(static fields => (fields[0], int.Parse(fields[1], CultureInfo.InvariantCulture)), static fields => fields[2]);
}
