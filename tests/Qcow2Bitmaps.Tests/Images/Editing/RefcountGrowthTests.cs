using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>Changes that need so many clusters that the refcount table moves.</summary>
public sealed class RefcountGrowthTests : IDisposable
{
    private const long DiskBytes = 16L << 30;

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>The table had moved and is moved back.</summary>
    [Fact]
    public async Task AnEditThatIsTakenBackAfterTheRefcountTableHasMovedLeavesAnImageThatCanBeEdited()
    {
        Qemu.Require();
        string path = _folder.File("a.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", "cluster_size=512,refcount_bits=64", path, "16G");
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token))
        await using (Qcow2Image other = await new TestImage().OpenAsync())
        {
            ulong before = image.Header.RefcountTableOffset;
            DirtyBitmap bits = OneGranuleOfEachPage();
            BitmapEditSet set = new BitmapEditSet().Add(image, edit => edit.Add("a", 512).Merge(bits, "a"))
                .Add(other, static edit => edit.Remove("none"));
            await Assert.ThrowsAsync<BitmapStateException>(async () => await set.CommitAsync(_folder.File("journal"), Token));
            Assert.Equal(before, image.Header.RefcountTableOffset);
            Assert.Empty(image.Bitmaps);

            await image.Bitmaps.EditAsync(edit => edit.Add("b", 512).Merge(bits, "b"), Token);
            await image.Bitmaps.EditAsync(static edit => edit.Add("c", 512).Merge("b", "c").Remove("b"), Token);

            Assert.True(bits.HasSameContent(await image.Bitmaps.LoadAsync("c", cancellationToken: Token)));
        }

        Assert.Equal("No errors were found on the image.", (await Qemu.ImgOkAsync("check", path)).Split('\n')[0]);
    }

    /// <summary>The old table's cluster becomes free, and is the first one that the writer takes next.</summary>
    [Fact]
    public async Task AWriterGoesOnAfterTheRefcountTableHasMoved()
    {
        Qemu.Require();
        const int Piece = 1 << 20;
        string path = _folder.File("a.qcow2");
        string model = _folder.File("model");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", path, "16M");
        var bytes = new byte[16 * Piece];
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token))
        {
            ulong before = image.Header.RefcountTableOffset;
            await using (Disk writer = await image.OpenWriterAsync(Token))
            {
                for (int i = 0; i < 16; i++)
                {
                    bytes.AsSpan(i * Piece, Piece).Fill((byte)(i + 1));
                    await writer.WriteAsync(i * Piece, bytes.AsMemory(i * Piece, Piece), Token);
                    await writer.FlushAsync(Token);
                }
            }

            Assert.NotEqual(before, image.Header.RefcountTableOffset);
        }

        await File.WriteAllBytesAsync(model, bytes, Token);
        Assert.Equal("No errors were found on the image.", (await Qemu.ImgOkAsync("check", path)).Split('\n')[0]);
        await Qemu.ImgOkAsync("compare", "-f", "qcow2", "-F", "raw", path, model);
    }

    private static DirtyBitmap OneGranuleOfEachPage()
    {
        var bits = new DirtyBitmap(DiskBytes, 512);
        for (long offset = 0; offset < DiskBytes; offset += 512 * 4096)
        {
            bits.Set(offset, 1);
        }

        return bits;
    }
}
