using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>What an edit reads and writes follows what it changes.</summary>
public sealed class EditCostTests
{
    private const int ClusterBytes = 65_536;
    private const long DiskBytes = 16L << 40;
    private const int DenseBytes = 32 << 20;

    // The L1 table of the disk, so that nothing is written over a table of the guest's.
    private const int L1Bytes = (int)(DiskBytes / ClusterBytes / 8192 * 8);

    // Twice the first cluster, a block and the table of counts, a bitmap's table where one is removed; and sectors
    // of the header, of counts, and a directory.
    private const int MaxOtherBytesRead = 8 * ClusterBytes;
    private const int MaxOtherBytesWritten = 4096;

    private static readonly Lazy<TestImage> s_dense = new(MakeDense);
    private static readonly Lazy<byte[]> s_denseBytes = new(static () => s_dense.Value.Build());

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("add", 4096)]
    [InlineData("add 100", (100 * 8) + (100 * 40))]
    [InlineData("enable", 0)]
    [InlineData("disable", 0)]
    [InlineData("rename", 0)]
    [InlineData("remove the clean one", 0)]
    [InlineData("remove a dense one", 0)]
    [InlineData("clear a dense one", 4096)]
    public async Task BesideDenseBitmapsSomeSectorsAreWrittenAndNoBitsRead(string kind, int moreBytesWritten)
    {
        await using var storage = new CountingStorage(new MemoryStorage(s_denseBytes.Value));
        await using Qcow2Image image = await OpenAsync(storage);

        await image.Bitmaps.EditAsync(edit => _ = kind switch
        {
            "add" => edit.Add("new"),
            "add 100" => Enumerable.Range(0, 100).Aggregate(edit, static (e, i) => e.Add($"new{i}", 1 << 30)),
            "enable" => edit.Enable("second"),
            "disable" => edit.Disable("first"),
            "rename" => edit.Rename("first", "renamed"),
            "remove the clean one" => edit.Remove("clean"),
            "remove a dense one" => edit.Remove("second"),
            _ => edit.Clear("second"),
        }, Token);

        Assert.InRange(BytesRead(storage), 1, L1Bytes + MaxOtherBytesRead);
        Assert.InRange(BytesWritten(storage), 1, moreBytesWritten + MaxOtherBytesWritten);
        foreach (TestBitmap bitmap in s_dense.Value.Bitmaps.Take(2))
        {
            ulong first = Entry(s_denseBytes.Value, bitmap.TableOffset, 0).Offset;
            Assert.DoesNotContain(
                storage.Reads.Concat(storage.Writes),
                io => (ulong)io.Offset < first + DenseBytes && (ulong)(io.Offset + io.Length) > first);
        }
    }

    [Fact]
    public async Task AnEditThatChangesNothingWritesNothing()
    {
        await using var storage = new CountingStorage(new MemoryStorage(s_denseBytes.Value));
        await using Qcow2Image image = await OpenAsync(storage);

        await image.Bitmaps.EditAsync(
            static edit => edit.Enable("first").Merge("clean", "first").Add("x").Remove("x").Rename("first", "x").Rename("x", "first"),
            Token);

        Assert.Empty(storage.Writes);
    }

    [Fact]
    public async Task AMergeReadsNoUniformPagesAndWritesNoKeptOnes()
    {
        const int Page = 4096;
        // Page by page, target and source: bits and clean; clean and bits; bits and bits; bits and dirty; dirty and bits; clean and clean.
        var targetBits = new byte[6 * Page];
        var sourceBits = new byte[6 * Page];
        targetBits[0] = targetBits[2 * Page] = targetBits[3 * Page] = 1;
        sourceBits[Page] = sourceBits[2 * Page] = sourceBits[4 * Page] = 2;
        TestImage built = new TestImage(12, 6L * Page * 8 * 512).WithBitmap("target", 9, bits: targetBits, allOnesPages: [4]).WithBitmap(
            "source", 9, bits: sourceBits, allOnesPages: [3]);
        byte[] before = built.Build();
        long[] target = Offsets(before, built.Bitmaps[0].TableOffset);
        long[] source = Offsets(before, built.Bitmaps[1].TableOffset);
        var memory = new MemoryStorage(before);
        await using var storage = new CountingStorage(memory);
        await using Qcow2Image image = await OpenAsync(storage);

        await image.Bitmaps.EditAsync(static edit => edit.Merge("source", "target"), Token);

        long[] bits = [.. target.Concat(source).Where(static offset => offset > 1)];
        Assert.Equal([target[2], source[1], source[2]], storage.Reads.Select(static read => read.Offset).Where(bits.Contains).Order());
        Assert.DoesNotContain(
            storage.Writes, write => bits.Any(offset => write.Offset < offset + Page && write.Offset + write.Length > offset));
        // Two pages, a table, a directory, and sectors of counts and of the header.
        Assert.InRange(BytesWritten(storage), 2 * Page, (2 * Page) + 2048);
        long[] after = Offsets(memory.ToArray(), (int)image.Bitmaps[0].TableOffset);
        Assert.Equal([target[0], 1, 1, 0], [after[0], after[3], after[4], after[5]]);
        Assert.DoesNotContain(target.Concat(source), offset => offset > 1 && (offset == after[1] || offset == after[2]));
        Assert.Equal(4 + (2 * Page * 8), (await image.Bitmaps.CountAsync("target", Token)).Bits);
    }

    [Fact]
    public async Task AMergeOfUniformPagesTakesTablesOnly()
    {
        // 2^28 bits, all dirty, into as many clean ones.
        TestImage built = new TestImage(16, DiskBytes).WithBitmap(
            "dirty", 16, BitmapFlags.None, null, [.. Enumerable.Range(0, DenseBytes / ClusterBytes)]).WithBitmap("clean", 16);
        await using var storage = new CountingStorage(new MemoryStorage(built.Build()));
        await using Qcow2Image image = await OpenAsync(storage);

        await image.Bitmaps.EditAsync(static edit => edit.Merge("dirty", "clean"), Token);

        Assert.InRange(BytesRead(storage), 1, L1Bytes + MaxOtherBytesRead);
        Assert.InRange(BytesWritten(storage), 1, (DenseBytes / ClusterBytes * 8) + MaxOtherBytesWritten);
        Assert.Equal(1L << 28, (await image.Bitmaps.CountAsync("clean", Token)).Bits);
    }

    /// <summary>Two bitmaps of 32 MiB of bits each, no page of them uniform, and a clean one.</summary>
    private static TestImage MakeDense()
    {
        byte[] bits = [.. Enumerable.Repeat((byte)0x55, DenseBytes)];
        return new TestImage(16, DiskBytes).WithBitmap("first", 16, bits: bits)
            .WithBitmap("second", 16, BitmapFlags.None, bits)
            .WithBitmap("clean", 16);
    }

    /// <summary>Opens an image; what that costs is not counted.</summary>
    private static async Task<Qcow2Image> OpenAsync(CountingStorage storage)
    {
        Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
        storage.Reads.Clear();
        return image;
    }

    private static long BytesRead(CountingStorage storage) => storage.Reads.Sum(static read => (long)read.Length);

    private static long BytesWritten(CountingStorage storage) => storage.Writes.Sum(static write => (long)write.Length);

    private static BitmapTableEntry Entry(byte[] bytes, int table, int page) =>
        new(BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(table + (page * 8))));

    /// <summary>The entries of a table of six, as numbers: 0 for clean, 1 for dirty, else an offset.</summary>
    private static long[] Offsets(byte[] bytes, int table) =>
        [.. Enumerable.Range(0, 6).Select(page => (long)Entry(bytes, table, page).Raw)];
}
