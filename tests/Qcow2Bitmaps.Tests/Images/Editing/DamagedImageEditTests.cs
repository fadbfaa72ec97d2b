using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>Edits of images that are broken, or were cut short: what was dirty stays dirty, and nothing else is broken.</summary>
public sealed class DamagedImageEditTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>The first page that is merged lets the file grow over what the second one misses.</summary>
    [Fact]
    public async Task BitsThatTheFileHasLostStayDirtyWhenItGrowsWhileTheyAreMerged()
    {
        var builder = new TestImage(clusterBits: 12, virtualSizeBytes: 1L << 28)
            .WithBitmap("a", 12, bits: [.. Enumerable.Repeat((byte)0x11, 8192)]).WithBitmap("b", 12);
        byte[] bytes = builder.Build();
        Span<byte> second = bytes.AsSpan(builder.Bitmaps[0].TableOffset + ImageGeometry.TableEntryBytes);
        byte[] cut = [.. bytes, .. bytes.AsSpan((int)BinaryPrimitives.ReadUInt64BigEndian(second), 2000)];
        BinaryPrimitives.WriteUInt64BigEndian(
            cut.AsSpan(builder.Bitmaps[0].TableOffset + ImageGeometry.TableEntryBytes), (ulong)bytes.Length);
        SetCount(cut, builder, bytes.Length >> 12, 1);
        await using Qcow2Image image = await OpenAsync(cut);
        DirtyBitmap before = await image.Bitmaps.LoadAsync("a", cancellationToken: Token);

        await image.Bitmaps.EditAsync(static edit => edit.Merge("a", into: "b"), Token);

        Assert.True(before.HasSameContent(await image.Bitmaps.LoadAsync("b", cancellationToken: Token)));
    }

    /// <summary>QEMU reads such an image: it skips the second of a name when that one is in use.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ANameThatTwoShareIsStillTakenWhenOneIsGone(bool isRenamed)
    {
        await using Qcow2Image image = await OpenAsync(new TestImage().WithBitmap("a").WithBitmap("a", flags: BitmapFlags.InUse).Build());

        BitmapStateException refusal = await Assert.ThrowsAsync<BitmapStateException>(
            async () => await image.Bitmaps.EditAsync(edit => (isRenamed ? edit.Rename("a", "b") : edit.Remove("a")).Add("a"), Token));
        Assert.Equal("Bitmap already exists: a", refusal.Message);

        await image.Bitmaps.EditAsync(static edit => edit.Remove("a").Remove("a").Add("a"), Token);
        Assert.Equal(BitmapState.Recording, Assert.Single(image.Bitmaps).State);
    }

    [Fact]
    public async Task ANewNameThatTheDirectoryHasNoRoomForIsRefused()
    {
        await using Qcow2Image image = await OpenAsync(
            new TestImage().WithBitmap("a").Build(), limits: new Qcow2Limits { MaxBitmapDirectoryBytes = 64 });

        BitmapStateException refusal = await Assert.ThrowsAsync<BitmapStateException>(
            async () => await image.Bitmaps.EditAsync(static edit => edit.Rename("a", new string('n', 50)), Token));

        Assert.EndsWith("Not enough space in the bitmap directory", refusal.Message, StringComparison.Ordinal);
        Assert.True(image.Bitmaps.TryGet("a", out _));
    }

    /// <summary>What a lenient reader may look at is no record of changes.</summary>
    [Fact]
    public async Task AnInconsistentBitmapOfALenientlyOpenedImageIsNotMerged()
    {
        await using Qcow2Image image = await OpenAsync(new TestImage().WithBitmap("a").Build());
        await using Qcow2Image other = await OpenAsync(
            new TestImage().WithBitmap("a", flags: BitmapFlags.InUse).Build(), Strictness.Lenient);

        await Assert.ThrowsAsync<BitmapStateException>(
            async () => await image.Bitmaps.EditAsync(edit => edit.Merge(other, "a", into: "a"), Token));
    }

    /// <summary>Two bitmaps that name one cluster, or one table: QEMU opens such images.</summary>
    [Theory]
    [InlineData(false, 1)]
    [InlineData(false, 2)]
    [InlineData(true, 1)]
    [InlineData(true, 2)]
    public async Task BitsThatTwoBitmapsShareStayWhileOneIsLeft(bool isTableShared, int count)
    {
        var builder = new TestImage(virtualSizeBytes: 1L << 27).WithBitmap("a", bits: [1, 2, 3]).WithBitmap("b", bits: [4, 5, 6]);
        byte[] bytes = builder.Build();
        int from = isTableShared ? builder.DirectoryOffset + builder.Bitmaps[0].EntryOffsetInDirectory : builder.Bitmaps[0].TableOffset;
        int to = isTableShared ? builder.DirectoryOffset + builder.Bitmaps[1].EntryOffsetInDirectory : builder.Bitmaps[1].TableOffset;
        bytes.AsSpan(from, sizeof(ulong)).CopyTo(bytes.AsSpan(to));
        int bitsCluster = (int)(BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(builder.Bitmaps[0].TableOffset)) >> 12);
        SetCount(bytes, builder, bitsCluster, (ulong)count);
        var storage = new MemoryStorage(bytes);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        DirtyBitmap before = await image.Bitmaps.LoadAsync("b", cancellationToken: Token);

        await image.Bitmaps.EditAsync(static edit => edit.Remove("a"), Token);
        await image.Bitmaps.EditAsync(static edit => edit.Add("c").Set("c", 0, 1), Token);

        Assert.True(before.HasSameContent(await image.Bitmaps.LoadAsync("b", cancellationToken: Token)));
        Assert.Equal(1UL, RefcountBlock.Read(storage.ToArray().AsSpan(2 << 12, 4096), bitsCluster, builder.Geometry.RefcountOrder));
    }

    /// <summary>A bitmap names a cluster that is not counted, and the edit takes it for something else.</summary>
    [Fact]
    public async Task WhatAnEditHasWrittenIsNotFreedByIt()
    {
        var builder = new TestImage(clusterBits: 12, virtualSizeBytes: 1L << 28).WithBitmap(
            "a", 12, bits: [.. Enumerable.Repeat((byte)0x11, 8192)]);
        byte[] bytes = builder.Build();
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(builder.Bitmaps[0].TableOffset + sizeof(ulong)), (ulong)bytes.Length);
        await using Qcow2Image image = await OpenAsync(bytes);
        DirtyBitmap model = await image.Bitmaps.LoadAsync("a", cancellationToken: Token);

        await image.Bitmaps.EditAsync(static edit => edit.Set("a", 4096, 1), Token);

        model.Set(4096, 1);
        Assert.True(model.HasSameContent(await image.Bitmaps.LoadAsync("a", cancellationToken: Token)));
        Assert.Equal(0, (await image.CheckAsync(Token)).Corruptions);
    }

    /// <summary>Another bitmap's bits stand in a cluster whose count is zero: QEMU would write over them.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task BitsThatAreNotCountedAreNotWrittenOver(bool isRemoved)
    {
        var builder = new TestImage(clusterBits: 12, virtualSizeBytes: 1L << 28).WithBitmap(
            "a", 12, bits: [.. Enumerable.Repeat((byte)0x11, 8192)]).WithBitmap("c", 12);
        byte[] bytes = builder.Build();
        ulong second = BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(builder.Bitmaps[0].TableOffset + sizeof(ulong)));
        SetCount(bytes, builder, (int)(second >> 12), 0);
        var storage = new MemoryStorage(bytes);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);

        Qcow2FormatException refusal = await Assert.ThrowsAsync<Qcow2FormatException>(
            async () =>
                await image.Bitmaps.EditAsync(edit => (isRemoved ? edit.Remove("a") : edit.Disable("c")).Add("b").Set("b", 0, 1), Token));

        Assert.Equal((FaultCode.RefcountTooLow, second), (refusal.Fault.Code, refusal.Fault.Offset));
        Assert.Equal(bytes, storage.ToArray());
        await image.RepairAsync(RepairKinds.All, Token);
        await image.Bitmaps.EditAsync(static edit => edit.Add("b").Set("b", 0, 1), Token);
        Assert.Equal(0, (await image.CheckAsync(Token)).Corruptions);
    }

    /// <summary>The same where no refcount block counts the cluster: a new block would take it for itself.</summary>
    [Fact]
    public async Task BitsThatNoBlockCountsAreNotTakenForOne()
    {
        var builder = new TestImage(clusterBits: 9, virtualSizeBytes: 1 << 20, refcountOrder: 6).WithBitmap("a", 9);
        byte[] bytes = builder.Build(freeRefcounts: 0);
        byte[] longer = [.. bytes, .. Enumerable.Repeat((byte)0x11, 512)];
        BinaryPrimitives.WriteUInt64BigEndian(longer.AsSpan(builder.Bitmaps[0].TableOffset), (ulong)bytes.Length);
        var storage = new MemoryStorage(longer);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);

        Qcow2FormatException refusal = await Assert.ThrowsAsync<Qcow2FormatException>(
            async () => await image.Bitmaps.EditAsync(static edit => edit.Add("b"), Token));

        Assert.Equal((FaultCode.RefcountTooLow, (ulong)bytes.Length), (refusal.Fault.Code, refusal.Fault.Offset));
        Assert.Equal(longer, storage.ToArray());
    }

    /// <summary>The refcount table names the L1 table, or one block twice: counts are written in place.</summary>
    [Theory]
    [InlineData(3)]
    [InlineData(2)]
    public async Task CountsAreNotWrittenOverAnotherStructure(int cluster)
    {
        const int ClusterSize = 512;
        byte[] bytes = new TestImage(clusterBits: 9).Build();
        bytes.AsSpan(2 * ClusterSize, ClusterSize).Fill(1);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(ClusterSize + sizeof(ulong)), (ulong)cluster * ClusterSize);
        var storage = new MemoryStorage(bytes);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);

        await Assert.ThrowsAsync<Qcow2FormatException>(async () => await image.Bitmaps.EditAsync(static edit => edit.Add("a"), Token));

        Assert.Equal(bytes, storage.ToArray());
    }

    /// <summary>The header of version 2 ends where later ones have feature bits.</summary>
    [Fact]
    public async Task ExtensionsOfVersion2StayWhenItsBitmapsAreRemoved()
    {
        var builder = new TestImage().WithBitmap("a");
        byte[] bytes = builder.Build();
        byte[] extension = bytes.AsSpan(builder.BitmapsExtensionOffset, BitmapsExtension.SizeBytes).ToArray();
        byte[] unknown = [.. Enumerable.Repeat((byte)0xAB, 40)];
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(HeaderLayout.Version), 2);
        bytes.AsSpan(HeaderLayout.Version2Length, 1000).Clear();
        var writer = new HeaderExtensionWriter(bytes.AsSpan(HeaderLayout.Version2Length, 1000));
        Assert.True(
            writer.TryWrite((HeaderExtensionType)0x12345678, unknown)
                && writer.TryWrite(HeaderExtensionType.Bitmaps, extension)
                && writer.TryWriteEnd());
        await using Qcow2Image image = await OpenAsync(bytes, Strictness.Lenient);
        Assert.Single(image.Bitmaps);

        await image.Bitmaps.EditAsync(static edit => edit.RemoveAll(), Token);

        Assert.Empty(image.Bitmaps);
        Assert.Equal(unknown, Assert.Single(image.Extensions).Data.ToArray());
    }

    [Fact]
    public async Task ANameOfABackingFileThatCannotBeMovedIsRefused()
    {
        byte[] bytes = new TestImage { BackingFile = "base" }.Build();
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(HeaderLayout.BackingFileSize), uint.MaxValue);
        await using Qcow2Image image = await OpenAsync(bytes, Strictness.Lenient);

        Qcow2FormatException refusal = await Assert.ThrowsAsync<Qcow2FormatException>(
            async () => await image.Bitmaps.EditAsync(static edit => edit.Add("a"), Token));
        Assert.Equal(FaultCode.HeaderBackingFileSize, refusal.Fault.Code);
    }

    [Fact]
    public async Task AMendedImageHasNoOtherBitmapsExtension()
    {
        var builder = new TestImage();
        builder.Extensions.Add(new RawHeaderExtension(HeaderExtensionType.Bitmaps, new byte[16], 0));
        var storage = new MemoryStorage(
            builder.WithHeader(static header => header with { AutoclearFeatures = AutoclearFeatures.Bitmaps }).Build());
        await using (Qcow2Image broken = await Qcow2Image.OpenAsync(
            storage, new Qcow2OpenOptions { Strictness = Strictness.Lenient }, leaveOpen: true, Token))
        {
            await broken.Bitmaps.EditAsync(static edit => edit.DropBroken().Add("a"), Token);
        }

        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        Assert.Single(image.Bitmaps);
    }

    private static async Task<Qcow2Image> OpenAsync(byte[] bytes, Strictness strictness = Strictness.AsQemu, Qcow2Limits? limits = null) =>
        await Qcow2Image.OpenAsync(
        new MemoryStorage(bytes), new Qcow2OpenOptions { Strictness = strictness, Limits = limits ?? Qcow2Limits.Default },
        cancellationToken: Token);

    private static void SetCount(byte[] bytes, TestImage builder, int cluster, ulong count)
    {
        int clusterSize = builder.Geometry.ClusterSizeBytes;
        RefcountBlock.Write(bytes.AsSpan(2 * clusterSize, clusterSize), cluster, builder.Geometry.RefcountOrder, count);
    }
}
