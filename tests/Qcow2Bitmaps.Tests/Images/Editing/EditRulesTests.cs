using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>Rules of single steps that no QEMU is needed for.</summary>
public sealed class EditRulesTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ARangeOfNoBytesChangesNothing()
    {
        var storage = new MemoryStorage(new TestImage().WithBitmap("a", 16, bits: [0b10]).Build());
        byte[] before = storage.ToArray();
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);

        await image.Bitmaps.EditAsync(static edit => edit.Set("a", 100, 0).Set("a", 1 << 20, 0).Clear("a", 65_536, 0), Token);

        Assert.Equal(before, storage.ToArray());
    }

    [Theory]
    [InlineData("nosuch", "also not", "Dirty bitmap 'also not' not found")]
    [InlineData("nosuch", "broken", "Dirty bitmap 'nosuch' not found")]
    [InlineData("off", "broken", "Bitmap 'broken' is inconsistent and cannot be used")]
    [InlineData("broken", "off", "Bitmap 'broken' is inconsistent and cannot be used")]
    public async Task OfTwoReasonsAMergeGivesQemus(string source, string into, string message)
    {
        byte[] bytes = new TestImage().WithBitmap("broken", flags: BitmapFlags.InUse).WithBitmap("off", flags: BitmapFlags.None).Build();
        await using Qcow2Image image = await Qcow2Image.OpenAsync(new MemoryStorage(bytes), cancellationToken: Token);
        await using Qcow2Image other = await Qcow2Image.OpenAsync(new MemoryStorage(bytes, "other"), cancellationToken: Token);

        BitmapStateException here = await Assert.ThrowsAsync<BitmapStateException>(
            async () => await image.Bitmaps.EditAsync(edit => edit.Merge(source, into), Token));
        BitmapStateException elsewhere = await Assert.ThrowsAsync<BitmapStateException>(
            async () => await image.Bitmaps.EditAsync(edit => edit.Merge(other, source, into), Token));

        Assert.Equal((message, "merge"), (here.Message.Split('\n')[0], here.Operation));
        Assert.Equal((here.Message, "merge"), (elsewhere.Message, elsewhere.Operation));
    }

    [Fact]
    public async Task DisksOfOtherSizesAreMergedUnlessThatIsForbidden()
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(
            new MemoryStorage(new TestImage().WithBitmap("a").Build()), cancellationToken: Token);
        await using Qcow2Image other = await new TestImage(12, 3 << 20).WithBitmap("b", 20, bits: [0b110]).OpenAsync();

        BitmapStateException refusal = await Assert.ThrowsAsync<BitmapStateException>(
            async () => await image.Bitmaps.EditAsync(edit => edit.Merge(other, "b", "a", requireSameSize: true), Token));
        await image.Bitmaps.EditAsync(edit => edit.Merge(other, "b", "a"), Token);

        Assert.Equal(
            "Bitmaps are of different sizes (destination size is 1048576, source size is 3145728) and can't be merged", refusal.Message);
        Assert.Equal(0, (await image.Bitmaps.CountAsync("a", Token)).Bits);
    }
}
