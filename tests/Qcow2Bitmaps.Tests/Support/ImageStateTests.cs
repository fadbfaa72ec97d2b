using System.Buffers.Binary;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>States tell images apart by what counts, and by that alone; QEMU agrees.</summary>
public sealed class ImageStateTests
{
    [Fact]
    public async Task BitsFlagsNamesAndOrderCount()
    {
        ImageState state = await ReadAsync(Sample());

        Assert.True(state.IsSound);
        Assert.Equal(0, state.Check.Leaks);
        Assert.True(state.IsSameAs(await ReadAsync(Sample())));
        Assert.False(state.IsSameAs(await ReadAsync(new TestImage().WithBitmap("a", bits: [1]).WithBitmap("b", 16, bits: [2]))));
        Assert.False(
            state.IsSameAs(await ReadAsync(new TestImage().WithBitmap("a", bits: [1]).WithBitmap("b", 16, BitmapFlags.None, [3]))));
        Assert.False(state.IsSameAs(await ReadAsync(new TestImage().WithBitmap("b", 16, bits: [3]).WithBitmap("a", bits: [1]))));
        Assert.False(
            state.IsSameAs(await ReadAsync(new TestImage { BackingFile = "x" }.WithBitmap("a", bits: [1]).WithBitmap("b", 16, bits: [3]))));
    }

    [Fact]
    public async Task BitsThatTheFileHasLostCount()
    {
        // All of the disk is dirty, so what counts as dirty because it is missing looks the same.
        byte[] bits = [.. Enumerable.Repeat((byte)0xFF, 32)];
        var image = new TestImage().WithBitmap("a", bits: bits);
        byte[] bytes = image.Build();
        byte[] lost = [.. bytes];
        BinaryPrimitives.WriteInt64BigEndian(lost.AsSpan(image.Bitmaps[0].TableOffset), bytes.Length);

        ImageState state = await ImageState.ReadAsync(bytes);

        Assert.NotEqual(state.Bitmaps[0].Sha256, (await ImageState.ReadAsync(lost)).Bitmaps[0].Sha256);
    }

    [Fact]
    public async Task LeaksAreSoundAndCorruptionsAreNot()
    {
        var image = Sample();
        byte[] bytes = image.Build();
        byte[] leaked = [.. bytes, .. new byte[4096]];
        RefcountBlock.Write(leaked.AsSpan(2 * 4096, 4096), bytes.Length / 4096, 4, 1);
        byte[] corrupt = [.. bytes];
        RefcountBlock.Write(corrupt.AsSpan(2 * 4096, 4096), image.DirectoryOffset / 4096, 4, 0);

        ImageState withLeak = await ImageState.ReadAsync(leaked);
        ImageState broken = await ImageState.ReadAsync(corrupt);

        Assert.True(withLeak.IsSound && withLeak.IsSameAs(await ReadAsync(image)));
        Assert.Equal(1, withLeak.Check.Leaks);
        Assert.False(broken.IsSound);
    }

    [Fact]
    public async Task AnAutoclearBitWithoutExtensionIsNotSound()
    {
        ImageState state = await ReadAsync(
            new TestImage().WithHeader(static h => h with { AutoclearFeatures = AutoclearFeatures.Bitmaps }));

        Assert.Equal(0, state.Check.Corruptions);
        Assert.False(state.IsSound);
    }

    [Fact]
    public async Task GuestDataAndUnknownExtensionsCount()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = folder.File("a.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", path, "1M");
        await Qemu.IoOkAsync(path, "write -q -P 1 0 4k", "write -q -P 2 64k 4k");
        await Qemu.ImgOkAsync("snapshot", "-c", "s", path);
        await Qemu.IoOkAsync(path, "write -q -P 3 0 4k");
        byte[] bytes = await File.ReadAllBytesAsync(path, TestContext.Current.CancellationToken);
        ImageState state = await ImageState.ReadAsync(bytes);

        foreach (byte value in new byte[] { 1, 2, 3 })
        {
            byte[] changed = [.. bytes];
            int cluster = Enumerable.Range(0, bytes.Length / 4096).Single(i => bytes.AsSpan(i * 4096, 4096).IndexOfAnyExcept(value) < 0);
            changed[cluster * 4096] ^= 1;
            Assert.False(state.IsSameAs(await ImageState.ReadAsync(changed)));
        }

        ImageState unknown = await ReadAsync(WithExtension(7));
        Assert.True(unknown.IsSameAs(await ReadAsync(WithExtension(7))));
        Assert.False(unknown.IsSameAs(await ReadAsync(WithExtension(8))));
    }

    [Fact]
    public async Task QemuSaysTheSame()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        byte[] bytes = Sample().Build();
        ImageState state = await ImageState.ReadAsync(bytes);

        await QemuOpinion.AssertAgreesAsync(folder.Write("a.qcow2", bytes), state, "sample");

        ImageState other = await ReadAsync(new TestImage().WithBitmap("a", bits: [1]));
        Assert.Contains("we read", (await Assert.ThrowsAsync<Xunit.Sdk.TrueException>(
            () => QemuOpinion.AssertAgreesAsync(folder.File("a.qcow2"), other, "other"))).Message, StringComparison.Ordinal);
    }

    private static Task<ImageState> ReadAsync(TestImage image) => ImageState.ReadAsync(image.Build());

    private static TestImage Sample() => new TestImage().WithBitmap("a", bits: [1]).WithBitmap("b", 16, BitmapFlags.None, [2]);

    private static TestImage WithExtension(byte value)
    {
        var image = new TestImage();
        image.Extensions.Add(new RawHeaderExtension((HeaderExtensionType)0x12345678, new byte[] { value }));
        return image;
    }
}
