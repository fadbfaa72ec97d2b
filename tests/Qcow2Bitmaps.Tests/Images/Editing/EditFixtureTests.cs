using System.Globalization;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>
/// Every kind of edit on every image that QEMU made and that it fits: QEMU finds nothing wrong, lists what we
/// list and reads the bits that must be there.
/// </summary>
public sealed class EditFixtureTests : IDisposable
{
    // Of the pairs of an image and an edit every so many is read back bit by bit through QEMU, and then
    // edited by it: each takes some processes.
    private const int EveryPair = 7;

    private static readonly string[] s_refused =
    [
        "images/v2-plain.qcow2", "images/v2-snapshot.qcow2", "images/v2-bitmaps-extension.qcow2", "images/corrupt-flag.qcow2",
    ];

    private readonly TempFolder _folder = new();

    public static TheoryData<Fixture> Editable =>
        [.. Qcow2Images.Where(static fixture => fixture.VirtualSizeBytes > 0 && !s_refused.Contains(fixture.RelativePath))];

    public static TheoryData<Fixture> NotEditable => [.. Qcow2Images.Where(static fixture => s_refused.Contains(fixture.RelativePath))];

    private static IEnumerable<Fixture> Qcow2Images => FixtureIndex.Images.Where(static fixture => fixture.Format == "qcow2");

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Editable))]
    public async Task EveryKindOfEdit(Fixture fixture)
    {
        Qemu.Require();
        int number = FixtureIndex.Images.ToList().IndexOf(fixture);
        // The bitmaps that QEMU ignores are gone for good, and their clusters stay leaked: nobody knows whose they are.
        bool hadLeaks = fixture.RelativePath == "images/autoclear-off.qcow2";
        ImageState before = await ImageState.ReadAsync(await File.ReadAllBytesAsync(fixture.Path, Token));
        ModelBits elsewhere = await WriteOtherImageAsync(fixture);
        foreach (EditKind kind in EditKind.All)
        {
            string path = Copy(fixture);
            EditModel model = await ModelOfAsync(fixture, before);
            await using (Qcow2Image other = await Qcow2Image.OpenAsync(_folder.File("other.qcow2"), cancellationToken: Token))
            await using (Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token))
            {
                kind.Steps(model, other, elsewhere);
                await image.Bitmaps.EditAsync(model.TakeEdit(out bool isRefused), Token);
                Assert.False(isRefused);
                await EditAssert.IsModelAsync(image, model);
            }

            ImageState after = await ImageState.ReadAsync(await File.ReadAllBytesAsync(path, Token));
            Assert.True(after.IsSound && after.Check.Leaks == before.Check.Leaks, $"{kind}: {after}");
            // What lazy refcounts left behind is repaired first.
            Assert.Equal(
                before.Identity.Replace("IncompatibleFeatures = Dirty", "IncompatibleFeatures = None", StringComparison.Ordinal),
                after.Identity);
            Assert.True(before.Guest.IsSameAs(after.Guest), "The guest's tables or data have changed");
            var node = new QemuNode(path, EncryptionOf(fixture));
            await EditAssert.QemuAgreesAsync(node, model, hadLeaks);
            if ((number + EditKind.All.ToList().IndexOf(kind)) % EveryPair == 0)
            {
                await ReadBitsThroughQemuAsync(node, model);
                await EditWithQemuAsync(kind, node, path, model, hadLeaks);
            }
        }
    }

    [Theory]
    [MemberData(nameof(NotEditable))]
    public async Task WhatMustNotBeWrittenIsRefusedAndLeftAsItIs(Fixture fixture)
    {
        byte[] bytes = await File.ReadAllBytesAsync(fixture.Path, Token);
        ImageState before = await ImageState.ReadAsync(bytes);
        ModelBits elsewhere = await WriteOtherImageAsync(fixture);
        string path = Copy(fixture);
        DateTime written = File.GetLastWriteTimeUtc(path);
        foreach (EditKind kind in EditKind.All)
        {
            EditModel model = await ModelOfAsync(fixture, before);
            await using Qcow2Image other = await Qcow2Image.OpenAsync(_folder.File("other.qcow2"), cancellationToken: Token);
            await using Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token);
            kind.Steps(model, other, elsewhere);
            BitmapEdit edit = model.TakeEdit(out _);
            if (kind.Name == "remove all" && before.Bitmaps.Length == 0)
            {
                // Nothing to do is no error where nothing is written.
                continue;
            }

            await Assert.ThrowsAnyAsync<Qcow2Exception>(async () => await image.Bitmaps.EditAsync(edit, Token));
            Assert.Equal(bytes, await File.ReadAllBytesAsync(path, Token));
        }

        Assert.Equal(written, File.GetLastWriteTimeUtc(path));
    }

    [Fact]
    public async Task ADiskOfNoBytesTakesNoBitmap()
    {
        Fixture fixture = FixtureIndex.Images.Single(static f => f.RelativePath == "images/empty-disk.qcow2");
        string path = Copy(fixture);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token);

        BitmapStateException refusal = await Assert.ThrowsAsync<BitmapStateException>(
            async () => await image.Bitmaps.EditAsync(static edit => edit.Add("a"), Token));

        Assert.Contains("The disk has no bytes", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(await File.ReadAllBytesAsync(fixture.Path, Token), await File.ReadAllBytesAsync(path, Token));
    }

    [Theory]
    [InlineData("images/cluster-64k.qcow2")]
    [InlineData("images/cluster-512.qcow2")]
    [InlineData("images/refcount-1.qcow2")]
    public async Task EveryKindOfEditOnABlockDevice(string name)
    {
        Qemu.Require();
        Fixture fixture = FixtureIndex.Images.Single(f => f.RelativePath == name);
        ImageState before = await ImageState.ReadAsync(await File.ReadAllBytesAsync(fixture.Path, Token));
        ModelBits elsewhere = await WriteOtherImageAsync(fixture);
        string path = Copy(fixture, 8 << 20);
        using var devices = new LoopDevices();
        string device = await devices.AttachAsync(path);
        foreach (EditKind kind in EditKind.All)
        {
            await File.WriteAllBytesAsync(device, Extended(fixture, 8 << 20), Token);
            EditModel model = await ModelOfAsync(fixture, before);
            await using (Qcow2Image other = await Qcow2Image.OpenAsync(_folder.File("other.qcow2"), cancellationToken: Token))
            await using (Qcow2Image image = await Qcow2Image.OpenAsync(device, FileAccess.ReadWrite, cancellationToken: Token))
            {
                kind.Steps(model, other, elsewhere);
                await image.Bitmaps.EditAsync(model.TakeEdit(out _), Token);
                await EditAssert.IsModelAsync(image, model);
                await EditAssert.IsSoundAsync(image);
            }

            var node = new QemuNode(device);
            await EditAssert.QemuAgreesAsync(node, model);
            await ReadBitsThroughQemuAsync(node, model);
        }
    }

    [Theory]
    [InlineData("images/cluster-4k.qcow2")]
    [InlineData("images/refcount-64.qcow2")]
    [InlineData("images/all-dirty.qcow2")]
    public async Task EveryKindOfEditOnAStorageThatCannotGrow(string name)
    {
        Qemu.Require();
        Fixture fixture = FixtureIndex.Images.Single(f => f.RelativePath == name);
        ImageState before = await ImageState.ReadAsync(await File.ReadAllBytesAsync(fixture.Path, Token));
        ModelBits elsewhere = await WriteOtherImageAsync(fixture);
        foreach (EditKind kind in EditKind.All)
        {
            EditModel model = await ModelOfAsync(fixture, before);
            var memory = new MemoryStorage(Extended(fixture, 4 << 20));
            await using Qcow2Image other = await Qcow2Image.OpenAsync(_folder.File("other.qcow2"), cancellationToken: Token);
            await using Qcow2Image image = await Qcow2Image.OpenAsync(new FixedSizeStorage(memory), cancellationToken: Token);
            kind.Steps(model, other, elsewhere);
            await image.Bitmaps.EditAsync(model.TakeEdit(out _), Token);
            await EditAssert.IsModelAsync(image, model);
            await EditAssert.IsSoundAsync(image);
            await EditAssert.QemuAgreesAsync(new QemuNode(_folder.Write("fixed.qcow2", memory.ToArray())), model);
        }
    }

    private static EncryptionMethod EncryptionOf(Fixture fixture) => fixture.RelativePath switch
    {
        "images/luks.qcow2" => EncryptionMethod.Luks,
        "images/aes.qcow2" => EncryptionMethod.Aes,
        _ => EncryptionMethod.None,
    };

    private static byte[] Extended(Fixture fixture, int length)
    {
        byte[] bytes = File.ReadAllBytes(fixture.Path);
        Array.Resize(ref bytes, length);
        return bytes;
    }

    /// <summary>The bitmaps of a fixture, with the bits that QEMU once read.</summary>
    private static async Task<EditModel> ModelOfAsync(Fixture fixture, ImageState state)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(fixture.Path, cancellationToken: Token);
        var model = new EditModel(fixture.VirtualSizeBytes, image.ClusterSizeBytes);
        Assert.Equal(state.Bitmaps.Length, fixture.Bitmaps.Count);
        for (int i = 0; i < fixture.Bitmaps.Count; i++)
        {
            FixtureBitmap bitmap = fixture.Bitmaps[i];
            var bits = new ModelBits(fixture.VirtualSizeBytes, bitmap.GranularityBytes);
            if (!bitmap.IsInUse)
            {
                string map = await File.ReadAllTextAsync(
                    string.Create(CultureInfo.InvariantCulture, $"{fixture.GoldenPath}.{i}.map"), Token);
                foreach (DirtyExtent extent in QemuBitmaps.ParseMap(map).Where(static extent => extent.IsDirty))
                {
                    bits.Set(extent.OffsetBytes, extent.LengthBytes);
                }
            }

            model.Put(new ModelBitmap(bitmap.Name, bitmap.GranularityBytes, bitmap.IsAuto, bitmap.IsInUse, bits));
        }

        return model;
    }

    private static async Task ReadBitsThroughQemuAsync(QemuNode node, EditModel model)
    {
        // The first, and what was added behind it; nbdinfo takes some names apart.
        ModelBitmap[] readable = [
            .. model.Bitmaps.Where(static b => !b.IsInconsistent && !b.Name.AsSpan().ContainsAny("\n,:") && b.Name.Length < 200)];
        foreach (ModelBitmap bitmap in readable.Length > 2 ? [readable[0], readable[^1]] : readable)
        {
            Assert.Equal(bitmap.Bits.Extents(), await node.ReadExtentsAsync(bitmap.Name));
        }
    }

    /// <summary>What qemu-img and qemu-io do to an image that we have edited, we read.</summary>
    private static async Task EditWithQemuAsync(EditKind kind, QemuNode node, string path, EditModel model, bool hadLeaks)
    {
        string[] source = model.Bitmaps.FirstOrDefault(static b => !b.IsInconsistent) is { } first ? ["--merge", first.Name] : [];
        ProcessResult added = await node.BitmapAsync(["--add", "-g", "16k", .. source], "by-qemu");
        Assert.True(added.ExitCode == 0 && (hadLeaks || added.Error.Length == 0), $"{kind}: {added.Error}");
        model.Add("by-qemu", 16_384);
        if (source.Length > 0)
        {
            model.Merge(source[1], "by-qemu");
        }

        // Clusters of 2 MiB, or with all data in the image: whatever the fixture has, a sector can be written.
        await node.WriteAsync(model.SizeBytes - 512, 512);
        model.Write(model.SizeBytes - 512, 512);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        await EditAssert.IsModelAsync(image, model);
        await EditAssert.IsSoundAsync(image, leaksBefore: hadLeaks ? 5 : 0);
    }

    private string Copy(Fixture fixture, int? length = null)
    {
        if (fixture.RelativePath.StartsWith("images/data-file", StringComparison.Ordinal))
        {
            string data = Path.ChangeExtension(fixture.Path, ".data");
            File.Copy(data, _folder.File(Path.GetFileName(data)), overwrite: true);
        }

        string copy = _folder.File(Path.GetFileName(fixture.Path));
        File.WriteAllBytes(copy, length is { } extended ? Extended(fixture, extended) : File.ReadAllBytes(fixture.Path));
        return copy;
    }

    /// <summary>Writes an image of other clusters whose bitmap has another granularity and some bits.</summary>
    private async Task<ModelBits> WriteOtherImageAsync(Fixture fixture)
    {
        const int GranularityBits = 15;
        await using Qcow2Image image = await Qcow2Image.OpenAsync(fixture.Path, cancellationToken: Token);
        long size = fixture.VirtualSizeBytes;
        var bits = new ModelBits(size, 1 << GranularityBits);
        bits.Set(0, 1);
        bits.Set(size * 3 / 8, size / 10);
        var other = new TestImage(image.Geometry.ClusterBits == 16 ? 14 : 16, size);
        _folder.Write("other.qcow2", other.WithBitmap(EditKind.Elsewhere, GranularityBits, bits: bits.ToBytes()).Build());
        return bits;
    }
}
