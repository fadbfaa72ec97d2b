using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>
/// Images with some bytes of their metadata changed at random: faults are told as faults, and a lenient reader never sees less.
/// </summary>
public sealed class ByteFlipTests
{
    private const int ImagesPerBase = 500;
    private const int MaxFlips = 6;

    [Theory]
    [InlineData("built-9")]
    [InlineData("built-12")]
    [InlineData("built-snapshots")]
    [InlineData("luks")]
    [InlineData("names")]
    public async Task OnlyFaultsEscapeAndLenientReadingYieldsNoLess(string baseName)
    {
        byte[] bytes = Base(baseName);
        long[] places = await MetadataBytesAsync(bytes);
        for (ulong i = 0; i < ImagesPerBase; i++)
        {
            byte[] image = Flip(bytes, places, new SplitMix((i << 8) + (uint)baseName.Length));
            try
            {
                await CheckAsync(image);
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                Assert.Fail($"image {i} of {baseName}: {e}");
            }
        }
    }

    private static async Task CheckAsync(byte[] image)
    {
        // The probe catches faults only: whatever else is thrown ends the test.
        Probe strict = await Probe.RunAsync(MemoryStorage.ReadOnly(image), Strictness.AsQemu, TestContext.Current.CancellationToken);
        Probe lenient = await Probe.RunAsync(MemoryStorage.ReadOnly(image), Strictness.Lenient, TestContext.Current.CancellationToken);
        Assert.True(strict.OpenError is not null || lenient.OpenError is null, "what opens strictly opens leniently");
        foreach ((int index, DirtyBitmap bits) in strict.Bitmaps)
        {
            DirtyBitmap rest = bits.Clone();
            rest.Subtract(lenient.Bitmaps[index]);
            Assert.True(rest.IsClean, "a bit that strict reading finds dirty is dirty to a lenient reader");
        }
    }

    private static byte[] Flip(byte[] bytes, long[] places, SplitMix random)
    {
        var image = (byte[])bytes.Clone();
        for (int flips = 1 + random.Below(MaxFlips); flips > 0; flips--)
        {
            image[random.Pick(places)] = random.Below(3) switch { 0 => 0, 1 => byte.MaxValue, _ => (byte)random.Below(256) };
        }

        // Now and then the file ends too soon.
        return random.Below(8) == 0 ? image[..random.Below(image.Length)] : image;
    }

    /// <summary>All bytes of fields but the magic's, and some of the names and the padding behind them.</summary>
    private static async Task<long[]> MetadataBytesAsync(byte[] bytes)
    {
        IReadOnlyList<MetadataField> fields = await MetadataFields.FindAsync(bytes, TestContext.Current.CancellationToken);
        return
        [
            .. fields.SelectMany(static field => Enumerable.Range(0, field.Bytes + 2).Select(i => field.Offset + i))
                .Where(place => place >= 4 && place < bytes.Length),
        ];
    }

    private static byte[] Base(string name) => name switch
    {
        "built-9" => Built(9),
        "built-12" => Built(12),
        "built-snapshots" => Patched.Usual().WithSnapshots(Patched.Snapshot("1", "first"), Patched.Snapshot("2", "second")).Bytes,
        _ => File.ReadAllBytes(FixtureIndex.Images.First(image => Path.GetFileNameWithoutExtension(image.RelativePath) == name).Path),
    };

    private static byte[] Built(int clusterBits) => new TestImage(clusterBits, (3 << 20) + 512)
        .WithBitmap("a", 12, bits: [1, 2, 3])
            .WithBitmap("b", 9, BitmapFlags.None, [.. Enumerable.Repeat((byte)7, 700)], 0)
            .WithBitmap("c", 16, BitmapFlags.InUse)
            .Build();
}
