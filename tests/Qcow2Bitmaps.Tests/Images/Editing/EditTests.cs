using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
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
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token))
        {
            await image.Bitmaps.EditAsync(
                static edit =>
                    edit.Add("a").Add("b", 512).Set("a", 1000, 100_000).Merge("a", "b").Set("b", (100 << 20) - 1, 1).Disable("b"),
                Token);
            Assert.Equal(["a", "b"], image.Bitmaps.Select(static bitmap => bitmap.Name));
            await image.Bitmaps.EditAsync(static edit => edit.Add("c").Remove("a"), Token);
        }

        Assert.Equal("No errors were found on the image.", (await Qemu.ImgOkAsync("check", path)).Split('\n')[0]);
        var model = new DirtyBitmap(100 << 20, 512);
        var a = new DirtyBitmap(100 << 20, options.Length == 0 ? 65536 : options.Contains("2M", StringComparison.Ordinal) ? 65536 : 4096);
        a.Set(1000, 100_000);
        model.Merge(a);
        model.Set((100 << 20) - 1, 1);
        Assert.Equal((IEnumerable<DirtyExtent>)[.. model.Extents(includeClean: true)], await QemuBitmaps.ReadExtentsAsync(path, "b"));
    }

    /// <summary>Clusters of 512 bytes on a device with sectors of 4096: nothing can be discarded there.</summary>
    [Fact]
    public async Task ADeviceWithLargeSectorsCanBeEdited()
    {
        Qemu.Require();
        string file = _folder.File("device");
        using (FileStream stream = File.Create(file))
        {
            stream.SetLength(4 << 20);
        }

        using var devices = new LoopDevices();
        string device = await devices.AttachAsync(file, sectorBytes: 4096);
        await File.WriteAllBytesAsync(device, new TestImage(clusterBits: 9).WithBitmap("a", 9, bits: [1, 2, 3]).Build(), Token);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(device, FileAccess.ReadWrite, cancellationToken: Token);

        await image.Bitmaps.EditAsync(static edit => edit.Clear("a").Add("b"), Token);

        Assert.Equal(["a", "b"], image.Bitmaps.Select(static bitmap => bitmap.Name));
        Assert.Equal(0, (await image.CheckAsync(Token)).Corruptions);
    }

    /// <summary>Each merge reads what all before it have made.</summary>
    [Fact]
    public async Task BitmapsThatAreMergedIntoOneAnotherManyTimesCostAPassEach()
    {
        const int Merges = 60;
        var storage = new MemoryStorage(
            new TestImage(virtualSizeBytes: 1L << 28).WithBitmap("a", 12, bits: [1, 2, 3]).WithBitmap("b", 16, bits: [4, 5, 6]).Build());
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        DirtyBitmap a = await image.Bitmaps.LoadAsync("a", cancellationToken: Token);
        DirtyBitmap b = await image.Bitmaps.LoadAsync("b", cancellationToken: Token);
        var edit = new BitmapEdit();
        for (int i = 0; i < Merges; i++)
        {
            edit.Set("a", i << 21, 1).Merge("a", "b").Clear("a", i << 20, 1 << 20).Merge("b", "a");
            a.Set(i << 21, 1);
            b.Merge(a);
            a.Clear(i << 20, 1 << 20);
            a.Merge(b);
        }

        await image.Bitmaps.EditAsync(edit, Token).WaitAsync(Patience.Limit, Token);

        Assert.True(a.HasSameContent(await image.Bitmaps.LoadAsync("a", cancellationToken: Token)));
        Assert.True(b.HasSameContent(await image.Bitmaps.LoadAsync("b", cancellationToken: Token)));
    }

    /// <summary>
    /// What lies behind the file's end counts as dirty; an edit lets the file grow over the place, where it would read as clean.
    /// </summary>
    [Theory]
    [InlineData(1)]
    [InlineData(4000)]
    [InlineData(4096)]
    public async Task BitsThatTheFileHasLostStayDirtyWhenItGrows(int lostBytes)
    {
        var builder = new TestImage(clusterBits: 12, virtualSizeBytes: 1L << 28).WithBitmap(
            "a", 12, bits: [.. Enumerable.Repeat((byte)0x11, 4096)]);
        byte[] bytes = WithBitsAtTheEnd(builder);
        var storage = new MemoryStorage(bytes.AsSpan(..^lostBytes));
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
        DirtyBitmap before = await image.Bitmaps.LoadAsync("a", cancellationToken: Token);
        Assert.True(before.IsDirty(((4096L * 8) - 1) << 12));

        await image.Bitmaps.EditAsync(static edit => edit.Add("b"), Token);

        Assert.True(storage.Length >= bytes.Length);
        Assert.True(before.HasSameContent(await image.Bitmaps.LoadAsync("a", cancellationToken: Token)));
        Assert.Equal(0, (await image.CheckAsync(Token)).Corruptions);
    }

    /// <summary>Moves the only cluster of bits behind all others.</summary>
    private static byte[] WithBitsAtTheEnd(TestImage builder)
    {
        byte[] bytes = builder.Build();
        int table = builder.Bitmaps[0].TableOffset;
        int old = (int)BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(table));
        byte[] moved = [.. bytes, .. bytes.AsSpan(old, 4096)];
        BinaryPrimitives.WriteUInt64BigEndian(moved.AsSpan(table), (ulong)bytes.Length);
        Span<byte> block = moved.AsSpan(2 << 12, 4096);
        RefcountBlock.Write(block, old >> 12, builder.Geometry.RefcountOrder, 0);
        RefcountBlock.Write(block, bytes.Length >> 12, builder.Geometry.RefcountOrder, 1);
        return moved;
    }
}
