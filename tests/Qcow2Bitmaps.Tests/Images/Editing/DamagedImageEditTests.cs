using System.Buffers.Binary;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
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
        BinaryPrimitives.WriteUInt64BigEndian(cut.AsSpan(builder.Bitmaps[0].TableOffset + ImageGeometry.TableEntryBytes), (ulong)bytes.Length);
        SetCount(cut, builder, bytes.Length >> 12, 1);
        await using Qcow2Image image = await OpenAsync(cut);
        DirtyBitmap before = await image.Bitmaps.LoadAsync("a", cancellationToken: Token);

        await image.Bitmaps.EditAsync(static edit => edit.Merge("a", into: "b"), Token);

        Assert.True(before.HasSameContent(await image.Bitmaps.LoadAsync("b", cancellationToken: Token)));
    }

    private static async Task<Qcow2Image> OpenAsync(byte[] bytes, Strictness strictness = Strictness.AsQemu, Qcow2Limits? limits = null) => await Qcow2Image.OpenAsync(
        new MemoryStorage(bytes), new Qcow2OpenOptions { Strictness = strictness, Limits = limits ?? Qcow2Limits.Default }, cancellationToken: Token);

    private static void SetCount(byte[] bytes, TestImage builder, int cluster, ulong count)
    {
        int clusterSize = builder.Geometry.ClusterSizeBytes;
        RefcountBlock.Write(bytes.AsSpan(2 * clusterSize, clusterSize), cluster, builder.Geometry.RefcountOrder, count);
    }
}
