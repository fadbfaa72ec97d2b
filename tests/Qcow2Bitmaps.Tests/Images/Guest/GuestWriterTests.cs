using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Guest;

/// <summary>What a writer does beside others, without room, after errors, and with what it must not write.</summary>
public sealed class GuestWriterTests
{
    private const int Cluster = 4096;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task CallsSideBySideEndInWhatEachWrote()
    {
        const int Workers = 8;
        MemoryStorage storage = await CreateAsync(8 << 20);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        await image.Bitmaps.EditAsync(new BitmapEdit().Add("a", 4096), Token);
        byte[] model = new byte[8 << 20];
        await using (Disk writer = await image.OpenWriterAsync(Token))
        {
            await Task.WhenAll(
                Enumerable.Range(0, Workers).Select(
                    worker => Task.Run(() => WriteInterleavedAsync(writer, worker, Workers, model), Token)));
            var read = new byte[model.Length];
            await writer.ReadAsync(0, read, Token);
            Assert.Equal(model, read);
        }

        CheckReport check = await image.CheckAsync(Token);
        Assert.Equal((0, 0), (check.Corruptions, check.Leaks));
        DirtyBitmap bits = await image.Bitmaps.LoadAsync("a", cancellationToken: Token);
        for (int at = 0; at < model.Length; at += 512)
        {
            Assert.True(model[at] == 0 || bits.IsDirty(at));
        }
    }

    [Fact]
    public async Task EditsOfBitmapsGoBetweenWrites()
    {
        MemoryStorage storage = await CreateAsync(1 << 20);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        await using Disk writer = await image.OpenWriterAsync(Token);
        await writer.WriteAsync(0, Filled(100, 1), Token);
        await image.Bitmaps.EditAsync(new BitmapEdit().Add("since", 512), Token);
        await writer.WriteAsync(70000, Filled(1000, 2), Token);
        await image.Bitmaps.EditAsync(new BitmapEdit().Clear("since"), Token);
        await writer.WriteAsync(70512, Filled(10, 3), Token);

        Assert.Equal(
            [new DirtyExtent(70144, 512, true)], [.. (await image.Bitmaps.LoadAsync("since", cancellationToken: Token)).Extents()]);
        CheckReport check = await image.CheckAsync(Token);
        Assert.Equal((0, 0), (check.Corruptions, check.Leaks));
    }

    /// <summary>The next compressed cluster goes behind the last one, but not when plain data stand there by now.</summary>
    [Fact]
    public async Task CompressedClustersLeaveAlonePlainOnesWhereTheyStoodBefore()
    {
        MemoryStorage storage = await CreateAsync(1 << 20);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        await using Disk writer = await image.OpenWriterAsync(Token);
        await writer.WriteCompressedAsync(0, Filled(Cluster, 1), Token);
        await writer.DiscardAsync(0, Cluster, Token);
        await writer.FlushAsync(Token);
        await writer.WriteAsync(0, Filled(4 * Cluster, 2), Token);
        await writer.WriteCompressedAsync(8 * Cluster, Filled(Cluster, 3), Token);

        var read = new byte[9 * Cluster];
        await writer.ReadAsync(0, read, Token);
        Assert.Equal([.. Filled(4 * Cluster, 2), .. new byte[4 * Cluster], .. Filled(Cluster, 3)], read);
    }

    [Fact]
    public async Task WhatIsMarkedBeforehandCostsNoEdit()
    {
        MemoryStorage memory = await CreateAsync(1 << 20);
        var storage = new CrashStorage(memory.ToArray());
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        await image.Bitmaps.EditAsync(new BitmapEdit().Add("a", 4096), Token);
        await using Disk writer = await image.OpenWriterAsync(Token);
        var ranges = new DirtyBitmap(1 << 20, 65536);
        ranges.Set(0, 200_000);
        await ((GuestWriter)writer).MarkAsync(ranges, Token);
        int before = storage.Operations.Count;
        await writer.WriteAsync(100, Filled(10_000, 1), Token);
        await writer.WriteAsync(150_000, Filled(10_000, 1), Token);

        Assert.DoesNotContain(storage.Operations.Skip(before), static operation => operation.Kind == StorageOperationKind.Flush);
    }

    [Fact]
    public async Task WithoutRoomNothingIsLostAndSpaceThatWasGivenUpIsUsedAgain()
    {
        MemoryStorage memory = await CreateAsync(1 << 20);
        await memory.SetLengthAsync(memory.Length + (20 * Cluster), Token);
        var storage = new FixedSizeStorage(memory);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        await using (Disk writer = await image.OpenWriterAsync(Token))
        {
            await writer.WriteAsync(0, Filled(10 * Cluster, 1), Token);
            await Assert.ThrowsAsync<NoSpaceException>(async () => await writer.WriteAsync(20 * Cluster, Filled(30 * Cluster, 2), Token));
            await writer.DiscardAsync(0, 10 * Cluster, Token);
            await writer.WriteAsync(100 * Cluster, Filled(10 * Cluster, 3), Token);
            var read = new byte[10 * Cluster];
            await writer.ReadAsync(100 * Cluster, read, Token);
            Assert.Equal(Filled(10 * Cluster, 3), read);
        }

        CheckReport check = await image.CheckAsync(Token);
        Assert.Equal((0, 0), (check.Corruptions, check.Leaks));
    }

    /// <summary>
    /// Each write fails once. Where one fails that lowers counts, clusters leak and the writer goes on, as long as there is room.
    /// </summary>
    [Theory]
    [InlineData(14)]
    [InlineData(40)]
    public async Task SpaceThatCannotBeGivenBackIsLeftAndTold(int freeClusters)
    {
        int told = 0;
        bool hasFailed = true;
        for (int write = 1; hasFailed; write++)
        {
            MemoryStorage memory = await CreateAsync(1 << 20);
            await memory.SetLengthAsync((memory.Length + (freeClusters * Cluster)) & -Cluster, Token);
            var storage = new FailingStorage(new FixedSizeStorage(memory)) { FailingWrite = write };
            var leftovers = new List<string>();
            Exception? error;
            using (Leftovers.TellTo(leftovers.Add))
            {
                error = await Record.ExceptionAsync(() => FillAndRefillAsync(storage));
            }

            hasFailed = storage.HasFailed;
            Assert.True(error is null || (hasFailed && error is IOException), $"write {write}: {error}");
            bool isFull = freeClusters < 20 && error is NoSpaceException;
            Assert.True(error is null || isFull || leftovers.Count == 0, $"write {write}: {error}");
            await using Qcow2Image left = await Qcow2Image.OpenAsync(new MemoryStorage(memory.ToArray(), "left"), cancellationToken: Token);
            CheckReport check = await left.CheckAsync(Token);
            Assert.Equal(0, check.Corruptions);
            told += leftovers.Count;
            if (error is null)
            {
                Assert.Equal(leftovers.Count > 0, check.Leaks > 0);
                await using Disk reader = await left.OpenWriterAsync(Token);
                await AssertReadsAsync(reader, 0, 1);
                await AssertReadsAsync(reader, 4, 3);
                await AssertReadsAsync(reader, 5, 5);
                await AssertReadsAsync(reader, 100, 4);
            }
        }

        Assert.True(told > 0);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task AfterAFailureTheImageIsWhole(bool fromWrites)
    {
        MemoryStorage memory = await CreateAsync(1 << 20);
        for (int operations = 1; ; operations++)
        {
            byte[] start = memory.ToArray();
            var inner = new MemoryStorage(start, "failing");
            var storage = new FailingStorage(inner)
            {
                FailingWrite = fromWrites ? operations : 0,
                FailingFlush = fromWrites ? 0 : operations,
            };
            await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
            bool hasFailed = false;
            try
            {
                await using Disk writer = await image.OpenWriterAsync(Token);
                await writer.WriteAsync(0, Filled(5 * Cluster, 1), Token);
                await writer.WriteZerosAsync(Cluster, Cluster, cancellationToken: Token);
                await writer.FlushAsync(Token);
                await writer.DiscardAsync(0, Cluster, Token);
                await writer.WriteCompressedAsync(8 * Cluster, Filled(Cluster, 2), Token);
                await writer.FlushAsync(Token);
            }
            catch (IOException)
            {
                hasFailed = true;
            }

            await using Qcow2Image left = await Qcow2Image.OpenAsync(new MemoryStorage(inner.ToArray(), "left"), cancellationToken: Token);
            CheckReport check = await left.CheckAsync(Token);
            Assert.Equal(0, check.Corruptions);
            if (!hasFailed)
            {
                Assert.True(operations > 3);
                return;
            }
        }
    }

    [Fact]
    public async Task ATableThatWasReadBeforeAWriteIsNotTakenForTheOneAfterIt()
    {
        MemoryStorage memory = await CreateAsync(1 << 20);
        await using (Qcow2Image first = await Qcow2Image.OpenAsync(memory, leaveOpen: true, cancellationToken: Token))
        {
            await using Disk writer = await first.OpenWriterAsync(Token);
            await writer.WriteAsync(0, Filled(Cluster, 1), Token);
        }

        var storage = new HeldReadStorage(memory);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        await using (Disk writer = await image.OpenWriterAsync(Token))
        {
            byte[] l1 = new byte[8];
            await memory.ReadAsync((long)image.Header.L1TableOffset, l1, Token);
            storage.Hold((long)new L1Entry(System.Buffers.Binary.BinaryPrimitives.ReadUInt64BigEndian(l1)).L2TableOffset);
            Task slow = Task.Run(async () => await writer.ReadAsync(0, new byte[Cluster], Token), Token);
            await storage.Begun;
            await writer.WriteAsync(5 * Cluster, Filled(Cluster, 2), Token);
            await writer.FlushAsync(Token);
            storage.Release();
            await slow;
            await writer.WriteAsync(6 * Cluster, Filled(Cluster, 3), Token);
        }

        await using Disk again = await image.OpenWriterAsync(Token);
        var read = new byte[2 * Cluster];
        await again.ReadAsync(5 * Cluster, read, Token);
        Assert.Equal([.. Filled(Cluster, 2), .. Filled(Cluster, 3)], read);
        Assert.Equal(0, (await image.CheckAsync(Token)).Corruptions);
    }

    [Fact]
    public async Task AFlushLeavesTheLengthAloneAsSomebodyMayJustExtendTheFile()
    {
        var memory = new MemoryStorage([], "image");
        await Qcow2Image.CreateAsync(
            memory, new Qcow2CreateOptions { SizeBytes = 4 << 20, ClusterSizeBytes = 64 << 10, ExtendedL2 = true }, Token);
        var storage = new CrashStorage(memory.ToArray());
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        await using (Disk writer = await image.OpenWriterAsync(Token))
        {
            await writer.WriteAsync(0, Filled(2048, 1), Token);
            await writer.WriteAsync(200_000, Filled(2048, 1), Token);
            await writer.FlushAsync(Token);
            await writer.WriteAsync(400_000, Filled(2048, 1), Token);
            await writer.FlushAsync(Token);
            Assert.NotEqual(0, storage.Length % (64 << 10));
            Assert.DoesNotContain(storage.Operations, static operation => operation.Kind == StorageOperationKind.SetLength);
            await writer.WriteAsync(100_000, Filled(10, 1), Token);
        }

        Assert.Equal(0, storage.Length % (64 << 10));
    }

    [Theory]
    [InlineData(1, "the refcount table")]
    [InlineData(2, "a refcount block")]
    [InlineData(0, "the header")]
    public async Task DataAreNotWrittenOverAStructure(int cluster, string what)
    {
        MemoryStorage storage = await CreateAsync(1 << 20);
        await using (Qcow2Image first = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token))
        {
            await using Disk writer = await first.OpenWriterAsync(Token);
            await writer.WriteAsync(0, Filled(Cluster, 1), Token);
        }

        byte[] bytes = storage.ToArray();
        var patched = new MemoryStorage(bytes, "patched");
        await using Qcow2Image image = await Qcow2Image.OpenAsync(patched, cancellationToken: Token);
        long table = (long)new L1Entry(
            System.Buffers.Binary.BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan((int)image.Header.L1TableOffset))).L2TableOffset;
        var entry = new byte[8];
        // Offset 0 is no cluster; there the L1 table stands in for the header.
        ulong host = cluster == 0 ? image.Header.L1TableOffset : (ulong)cluster * Cluster;
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(entry, L2Entry.Create(host, isCopied: true).Raw);
        await patched.WriteAsync(table, entry, Token);
        byte[] before = patched.ToArray();
        await using (Disk writer = await image.OpenWriterAsync(Token))
        {
            Qcow2FormatException e = await Assert.ThrowsAsync<Qcow2FormatException>(
                async () => await writer.WriteAsync(10, Filled(10, 9), Token));
            Assert.Equal(FaultCode.L2Overlap, e.Fault.Code);
            Assert.Contains(cluster == 0 ? "the active L1 table" : what, e.Message, StringComparison.Ordinal);
        }

        Assert.Equal(before, patched.ToArray());
    }

    [Fact]
    public async Task OutsideTheDiskAndAfterClosingIsRefused()
    {
        MemoryStorage storage = await CreateAsync(1 << 20);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        Disk writer = await image.OpenWriterAsync(Token);
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await writer.WriteAsync(-1, Filled(1, 1), Token));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await writer.WriteAsync((1 << 20) - 5, Filled(6, 1), Token));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(
            async () => await writer.WriteZerosAsync(5, long.MaxValue, cancellationToken: Token));
        await Assert.ThrowsAsync<ArgumentException>(async () => await writer.WriteCompressedAsync(512, Filled(Cluster, 1), Token));
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await image.OpenWriterAsync(Token));
        await writer.DisposeAsync();
        await writer.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await writer.WriteAsync(0, Filled(1, 1), Token));
        await using Disk next = await image.OpenWriterAsync(Token);
        await next.WriteAsync(0, Filled(1, 1), Token);
    }

    private static async Task WriteInterleavedAsync(Disk writer, int worker, int workers, byte[] model)
    {
        // Pieces of 1.5 KiB: neighbours in a cluster belong to different workers.
        const int Piece = 1536;
        for (int i = worker; (i + 1) * Piece <= model.Length; i += workers)
        {
            if (i % 3 == 0)
            {
                continue;
            }

            byte[] bytes = Filled(Piece, (byte)(1 + (i % 250)));
            bytes.CopyTo(model, i * Piece);
            await writer.WriteAsync(i * Piece, bytes, Token);
            if (i % 97 == 0)
            {
                await writer.FlushAsync(Token);
            }
        }
    }

    private static byte[] Filled(int length, byte value)
    {
        var bytes = new byte[length];
        Array.Fill(bytes, value);
        return bytes;
    }

    private static async Task<MemoryStorage> CreateAsync(long size)
    {
        var storage = new MemoryStorage([], "image");
        await Qcow2Image.CreateAsync(storage, new Qcow2CreateOptions { SizeBytes = size, ClusterSizeBytes = Cluster }, Token);
        return storage;
    }

    /// <summary>Writes clusters and gives them up; a small device needs their space for the next write.</summary>
    private static async Task FillAndRefillAsync(ImageStorage storage)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
        await using Disk writer = await image.OpenWriterAsync(Token);
        await writer.WriteCompressedAsync(0, Filled(Cluster, 1), Token);
        await writer.WriteAsync(8 * Cluster, Filled(10 * Cluster, 2), Token);
        await writer.DiscardAsync(8 * Cluster, 10 * Cluster, Token);
        await writer.WriteCompressedAsync(4 * Cluster, Filled(Cluster, 3), Token);
        if (storage.Length > 30 * Cluster)
        {
            await writer.FlushAsync(Token);
        }

        await writer.WriteAsync(100 * Cluster, Filled(3 * Cluster, 4), Token);
        await writer.WriteCompressedAsync(5 * Cluster, Filled(Cluster, 5), Token);
        await writer.FlushAsync(Token);
    }

    private static async Task AssertReadsAsync(Disk reader, int cluster, byte value)
    {
        var read = new byte[Cluster];
        await reader.ReadAsync(cluster * Cluster, read, Token);
        Assert.Equal(Filled(Cluster, value), read);
    }
}
