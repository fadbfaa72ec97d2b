using System.Buffers.Binary;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images;

/// <summary>Bits that the file has lost count as dirty, and a fault says so: a missing dirty bit is lost data.</summary>
public sealed class MissingBitsTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task DataBehindTheFilesEndAreDirty()
    {
        (TestImage image, byte[] bytes) = Build();
        // The second page's cluster moves behind the end of the file.
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(image.Bitmaps[0].TableOffset + 8), 0x40000000);

        (DirtyBitmap bitmap, List<FormatFault> findings) = await LoadAsync(bytes);

        Assert.Equal(
            [new DirtyExtent(0, 512, true), new DirtyExtent(4096 * 8 * 512, (1 << 25) - (4096 * 8 * 512), true)],
            bitmap.Extents().ToList());
        Assert.Equal([FaultCode.BitmapDataTruncated], findings.Select(static f => f.Code));
    }

    [Fact]
    public async Task DataCutOffInTheirClusterAreDirtyFromThere()
    {
        (TestImage image, byte[] bytes) = Build();
        // The file ends 100 bytes into a cluster that the second page is given.
        int end = bytes.Length;
        Array.Resize(ref bytes, end + 100);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(image.Bitmaps[0].TableOffset + 8), (ulong)end);

        (DirtyBitmap bitmap, List<FormatFault> findings) = await LoadAsync(bytes);

        long firstMissing = (4096 + 100) * 8L * 512;
        Assert.Equal(
            [new DirtyExtent(0, 512, true), new DirtyExtent(firstMissing, (1 << 25) - firstMissing, true)], bitmap.Extents().ToList());
        Assert.Equal([FaultCode.BitmapDataTruncated], findings.Select(static f => f.Code));
    }

    [Fact]
    public async Task AFileThatEndsBehindTheLastBitIsWhole()
    {
        var image = new TestImage(12, 1 << 20).WithBitmap("a", 12, bits: [1]);
        byte[] bytes = image.Build();
        int end = bytes.Length;
        Array.Resize(ref bytes, end + 32);
        bytes[end] = 3;
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(image.Bitmaps[0].TableOffset), (ulong)end);

        (DirtyBitmap bitmap, List<FormatFault> findings) = await LoadAsync(bytes);

        Assert.Equal(2, bitmap.Count().Bits);
        Assert.Empty(findings);
    }

    [Fact]
    public async Task ATableBehindTheFilesEndMakesAllDirty()
    {
        (TestImage image, byte[] bytes) = Build();
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(image.DirectoryOffset), 0x40000000);

        (DirtyBitmap bitmap, List<FormatFault> findings) = await LoadAsync(bytes);

        Assert.Equal(bitmap.BitCount, bitmap.Count().Bits);
        Assert.Equal([FaultCode.BitmapTableTruncated], findings.Select(static f => f.Code));
    }

    [Fact]
    public async Task BitsBehindTheDisksEndAreMaskedAndReported()
    {
        var image = new TestImage(12, (1 << 20) + 512).WithBitmap("a", 12, bits: [.. new byte[32], 0xff]);

        (DirtyBitmap bitmap, List<FormatFault> findings) = await LoadAsync(image.Build());

        Assert.Equal(new DirtyCount(1, 512), bitmap.Count());
        FormatFault finding = Assert.Single(findings);
        Assert.Equal((FaultCode.BitmapTailBits, "0xfe"), (finding.Code, finding.Found));
    }

    [Fact]
    public async Task BrokenEntriesAreRefusedOrDirty()
    {
        (TestImage image, byte[] bytes) = Build();
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(image.Bitmaps[0].TableOffset), 0x3);

        Qcow2FormatException refusal = await Assert.ThrowsAsync<Qcow2FormatException>(() => LoadAsync(bytes));
        Assert.Equal(
            (FaultCode.BitmapTableEntryReserved, (ulong)image.Bitmaps[0].TableOffset, "0x3"),
            (refusal.Fault.Code, refusal.Fault.Offset, refusal.Fault.Found));
        Assert.Contains("table of bitmap 'a': entry 0 at offset 0x", refusal.Message, StringComparison.Ordinal);

        (DirtyBitmap bitmap, List<FormatFault> findings) = await LoadAsync(bytes, Strictness.Lenient);
        Assert.Equal([new DirtyExtent(0, 4096 * 8 * 512, true)], bitmap.Extents().ToList());
        Assert.Equal([FaultCode.BitmapTableEntryReserved], findings.Select(static f => f.Code));
    }

    // Two pages of 4096 * 8 bits at 512 bytes; the first bit is dirty.
    private static (TestImage Image, byte[] Bytes) Build()
    {
        var image = new TestImage(12, 1 << 25).WithBitmap("a", 9, bits: [1]);
        return (image, image.Build());
    }

    private static async Task<(DirtyBitmap Bitmap, List<FormatFault> Findings)> LoadAsync(
        byte[] bytes, Strictness strictness = Strictness.AsQemu)
    {
        await using Qcow2Image image = await TestImage.OpenAsync(bytes, strictness);
        var findings = new List<FormatFault>();
        DirtyBitmap bitmap = await image.Bitmaps.LoadAsync("a", findings, Token);
        var streamed = new List<DirtyExtent>();
        await foreach (DirtyExtent extent in image.Bitmaps.ReadExtentsAsync("a", cancellationToken: Token))
        {
            streamed.Add(extent);
        }

        Assert.Equal(bitmap.Extents().ToList(), streamed);
        return (bitmap, findings);
    }
}
