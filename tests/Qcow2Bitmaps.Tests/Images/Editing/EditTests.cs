using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

public sealed class EditTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("")]
    [InlineData("cluster_size=512")]
    [InlineData("cluster_size=4096,refcount_bits=1")]
    [InlineData("cluster_size=2M,refcount_bits=64")]
    public async Task WhatIsEditedQemuReads(string options)
    {
        Qemu.Require();
        string path = _folder.File("a.qcow2");
        await Qemu.ImgOkAsync(["create", "-q", "-f", "qcow2", .. options.Length > 0 ? new[] { "-o", options } : [], path, "100M"]);
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(path, StorageAccess.ReadWrite, cancellationToken: Token))
        {
            await image.Bitmaps.EditAsync(static edit => edit.Add("a").Add("b", 512).Set("a", 1000, 100_000).Merge("a", "b").Set("b", (100 << 20) - 1, 1).Disable("b"), Token);
            Assert.Equal(["a", "b"], image.Bitmaps.Select(static bitmap => bitmap.Name));
            await image.Bitmaps.EditAsync(static edit => edit.Add("c").Remove("a"), Token);
        }

        Assert.Equal("No errors were found on the image.", (await Qemu.ImgOkAsync("check", path)).Split('\n')[0]);
        var model = new DirtyBitmap(100 << 20, 512);
        var a = new DirtyBitmap(100 << 20, options.Length == 0 ? 65536 : options.Contains("2M", StringComparison.Ordinal) ? 65536 : 4096);
        a.Set(1000, 100_000);
        model.Merge(a);
        model.Set((100 << 20) - 1, 1);
        Assert.Equal((IEnumerable<DirtyExtent>)[.. model.Extents()], await QemuBitmaps.ReadExtentsAsync(path, "b"));
    }
}
