using System.Diagnostics;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Images that are made to cost as much time and memory as they can.</summary>
public sealed class HostileResourceTests
{
    private const int Fixed = 16 << 20;
    private const int PerByte = 256;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ManyDifferentExtensionsTakeLinearTime(bool isLenient)
    {
        Strictness strictness = isLenient ? Strictness.Lenient : Strictness.AsQemu;
        // A cluster of 2 MiB full of extensions without data: unknown ones first, so that looking for an earlier known one is slow.
        Patched image = Patched.WithoutBitmaps(clusterBits: 21);
        for (int offset = HeaderLayout.KnownLength; offset < 1 << 21; offset += HeaderExtension.HeaderBytes)
        {
            image.U32(offset, offset < 1 << 20 ? 0x12345678 : (uint)HeaderExtensionType.FeatureNames);
        }

        Probe probe = await RunAsync(image.Bytes, strictness);
        Assert.True(probe.IsAccepted);
        Assert.Contains(probe.OpenFindings, static fault => fault.Code == FaultCode.ExtensionDuplicate);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ManyBrokenDirectoryEntriesTakeLinearMemory(bool isLenient)
    {
        Strictness strictness = isLenient ? Strictness.Lenient : Strictness.AsQemu;
        // 65535 entries of 32 bytes each, every field of which is wrong.
        const int Entries = 65535;
        Patched image = Patched.Usual();
        int directory = image.Bytes.Length;
        image.Resize(directory + (Entries * 32))
            .U32(image.BitmapsExtension, Entries)
            .U64(image.BitmapsExtension + 8, Entries * 32)
            .U64(image.BitmapsExtension + 16, (ulong)directory);
        for (int i = 0; i < Entries; i++)
        {
            int entry = directory + (i * 32);
            image.U64(entry, ulong.MaxValue).U32(entry + Patched.TableSize, uint.MaxValue).U32(entry + Patched.Flags, uint.MaxValue)
                .U8(entry + Patched.Type, 255).U8(entry + Patched.Granularity, 255).U32(entry + Patched.ExtraDataSize, 8);
        }

        Probe probe = await RunAsync(image.Bytes, strictness);
        Assert.Equal(strictness == Strictness.AsQemu, probe.OpenError is not null);
        Assert.True(probe.OpenFindings.Count <= 10_000);
    }

    /// <summary>Thousands of bitmaps, in use so that nobody compares their tables with the disk, name one long table.</summary>
    [Fact]
    public async Task ManyBitmapsOfOneTableAreNotAllLookedAtForAnEnd()
    {
        const int Entries = 4000;
        const int TableEntries = 131072;
        Patched image = Patched.Usual();
        int directory = image.Bytes.Length;
        int table = directory + (Entries * 32) + (4096 - (Entries * 32 % 4096));
        int extension = image.BitmapsExtension;
        image.Resize(table + (TableEntries * sizeof(ulong)));
        image.U32(extension, Entries).U64(extension + 8, Entries * 32).U64(extension + 16, (ulong)directory);
        for (int i = 0; i < Entries; i++)
        {
            int entry = directory + (i * 32);
            image.U64(entry, (ulong)table).U32(entry + Patched.TableSize, TableEntries).U32(entry + Patched.Flags, (uint)BitmapFlags.InUse)
                .U8(entry + Patched.Type, 1).U8(entry + Patched.Granularity, 16)
                .U16(entry + Patched.NameSize, 4).U32(entry + 24, (uint)i + 0x10000000);
        }

        await using var storage = new CountingStorage(MemoryStorage.ReadOnly(image.Bytes));
        CancellationToken cancellationToken = TestContext.Current.CancellationToken;
        await using Qcow2Image opened = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: cancellationToken);
        Assert.Equal(Entries, opened.Bitmaps.Count);

        await opened.FindTruncationAsync(cancellationToken: cancellationToken);

        Assert.InRange(storage.BytesRead, 0, (8L * image.Bytes.Length) + (80 << 20));
    }

    /// <summary>A header whose refcount table is longer than the limit, and a large file that is nothing but a hole.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ARefcountTableWithoutALimitTakesNoMemory(bool trustsCounts)
    {
        using var folder = TempFolder.InMemory();
        string path = folder.Write("image.qcow2", Patched.WithoutBitmaps().U32(HeaderLayout.RefcountTableClusters, uint.MaxValue).Bytes);
        await using (FileStream file = File.OpenWrite(path))
        {
            file.SetLength(3L << 30);
        }

        CancellationToken cancellationToken = TestContext.Current.CancellationToken;
        var options = new Qcow2OpenOptions { Strictness = Strictness.Lenient };
        await using Qcow2Image image = await Qcow2Image.OpenAsync(FileStorage.Open(path), options, cancellationToken: cancellationToken);
        int thread = Environment.CurrentManagedThreadId;
        long before = GC.GetAllocatedBytesForCurrentThread();

        await image.FindTruncationAsync(trustsCounts, cancellationToken);

        Assert.Equal(thread, Environment.CurrentManagedThreadId);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, Fixed);
        ProcessResult check = await Support.Cli.RunAsync("check", path);
        Assert.Equal(1, check.ExitCode);
        Assert.Contains("allowed: ", check.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task ManySnapshotsTakeLinearMemory()
    {
        byte[] entry = Patched.Snapshot("1", "", extraBytes: 0);
        byte[] image = Patched.Usual().WithSnapshots([.. Enumerable.Repeat(entry, 65536)]).Bytes;
        Probe probe = await RunAsync(image, Strictness.AsQemu);
        Assert.True(probe.IsAccepted);
    }

    [Theory]
    [InlineData(9)]
    [InlineData(12)]
    [InlineData(16)]
    [InlineData(21)]
    public async Task TheLargestBitmapWithoutAnythingBehindItTakesBoundedMemory(int clusterBits)
    {
        // The table has as many entries as are allowed and lies behind the file's end.
        Patched image = Largest(clusterBits, hasTable: false, entry: 0);
        Probe probe = await RunAsync(image.Bytes, Strictness.AsQemu, 16 << 20);
        Assert.True(probe.IsAccepted);
        Assert.Equal(probe.Bitmaps[0].BitCount, probe.Bitmaps[0].Count().Bits);
    }

    [Theory]
    [InlineData(false, 1UL << 40)]
    [InlineData(true, 1UL << 40)]
    [InlineData(false, ulong.MaxValue)]
    [InlineData(true, ulong.MaxValue)]
    public async Task ManyBrokenTableEntriesTakeLinearMemory(bool isLenient, ulong entry)
    {
        Strictness strictness = isLenient ? Strictness.Lenient : Strictness.AsQemu;
        // 131072 entries, each with a fault of its own.
        Patched image = Largest(clusterBits: 12, hasTable: true, entry);
        Probe probe = await RunAsync(image.Bytes, strictness);
        Assert.Null(probe.OpenError);
        Assert.Equal(strictness == Strictness.AsQemu && entry == ulong.MaxValue, probe.ReadErrors.Count > 0);
    }

    [Fact]
    public async Task AnExtensionOrACountThatClaimsGigabytesAllocatesNothingForThem()
    {
        Patched image = Patched.Usual().WithSnapshots(Patched.Snapshot("1", "a"));
        image.U32(HeaderLayout.SnapshotCount, 65536).U64(image.BitmapsExtension + 8, 67_107_840);
        foreach (Strictness strictness in new[] { Strictness.AsQemu, Strictness.Lenient })
        {
            Probe probe = await Probe.RunAsync(MemoryStorage.ReadOnly(image.Bytes), strictness, TestContext.Current.CancellationToken);
            Assert.InRange(probe.OpenAllocatedBytes, 0, 1 << 20);
        }
    }

    [Fact]
    public async Task StreamingBitsThatAllEntriesShareTakesBoundedMemory()
    {
        // 8192 entries that name one cluster: 512 MiB of bits in a file of 512 KiB. One bit of each 4 KiB of it is set.
        Patched image = Shared(out int data);
        for (int i = 0; i < 1 << 16; i += 4096)
        {
            image.U8(data + i, 1);
        }

        await using Qcow2Image open = await TestImage.OpenAsync(image.Bytes, Strictness.Lenient);
        long before = GC.GetAllocatedBytesForCurrentThread();
        DirtyCount count = await open.Bitmaps.CountAsync("a", TestContext.Current.CancellationToken);
        Assert.Equal(8192 * 16, count.Bits);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 4 << 20);

        long extents = 0;
        before = GC.GetAllocatedBytesForCurrentThread();
        await foreach (DirtyExtent extent in open.Bitmaps.ReadExtentsAsync("a", cancellationToken: TestContext.Current.CancellationToken))
        {
            extents += extent.IsDirty ? 1 : 0;
        }

        Assert.Equal(8192 * 16, extents);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 4 << 20);
    }

    [Fact]
    public async Task BitsThatEntriesShareAreRefusedOrStreamedAndNeverHeld()
    {
        Patched image = Shared(out int data);
        image.U8(data, 1);
        await RunAsync(image.Bytes, Strictness.AsQemu);
        foreach (Strictness strictness in Enum.GetValues<Strictness>())
        {
            await using Qcow2Image open = await TestImage.OpenAsync(image.Bytes, strictness);
            Qcow2FormatException error = await Assert.ThrowsAsync<Qcow2FormatException>(
                async () => await open.Bitmaps.LoadAsync("a", cancellationToken: TestContext.Current.CancellationToken));
            Assert.Equal(FaultCode.BitmapTableAliased, error.Fault.Code);
        }
    }

    [Fact]
    public async Task TheLimitOnABitmapsBytesBoundsWhatLoadingTakes()
    {
        // QEMU's limit is 512 MiB, and a caller with less memory sets a lower one.
        Patched image = Shared(out int data);
        image.U8(data, 1);
        var options = new Qcow2OpenOptions { Strictness = Strictness.Lenient, Limits = new Qcow2Limits { MaxBitmapBytes = 64 << 20 } };
        await using Qcow2Image open = await Qcow2Image.OpenAsync(
            MemoryStorage.ReadOnly(image.Bytes), options, cancellationToken: TestContext.Current.CancellationToken);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Qcow2FormatException error = await Assert.ThrowsAsync<Qcow2FormatException>(
            async () => await open.Bitmaps.LoadAsync("a", cancellationToken: TestContext.Current.CancellationToken));
        Assert.Equal(FaultCode.BitmapTableSize, error.Fault.Code);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
    }

    [Fact]
    public async Task ReadingStopsWhenItIsCancelled()
    {
        // Every second bit is dirty: 2^31 ranges.
        Patched image = Shared(out int data);
        image.Bytes.AsSpan(data, 1 << 16).Fill(0x55);
        await using Qcow2Image open = await TestImage.OpenAsync(image.Bytes, Strictness.Lenient);
        using var cancel = new CancellationTokenSource();
        long extents = 0;
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (DirtyExtent extent in open.Bitmaps.ReadExtentsAsync("a", cancellationToken: cancel.Token))
            {
                extents += extent.IsDirty ? 1 : 0;
                if (extents == 1)
                {
                    await cancel.CancelAsync();
                }
            }
        });
        // What was read before is a window of 2^23 bits.
        Assert.InRange(extents, 1, 1 << 22);
    }

    [Fact]
    public async Task ADirectoryWithMoreEntriesThanTheLimitIsRefused()
    {
        byte[] image = new TestImage().WithBitmap("a").WithBitmap("b").WithBitmap("c").Build();
        Patched patched = new(new TestImage().WithBitmap("a").WithBitmap("b").WithBitmap("c"));
        patched.U32(patched.BitmapsExtension, 2);
        var options = new Qcow2OpenOptions { Limits = new Qcow2Limits { MaxBitmaps = 2 } };
        Qcow2FormatException error = await Assert.ThrowsAsync<Qcow2FormatException>(
            () => Qcow2Image.OpenAsync(
                MemoryStorage.ReadOnly(patched.Bytes), options, cancellationToken: TestContext.Current.CancellationToken));
        Assert.Equal(FaultCode.BitmapDirectoryCount, error.Fault.Code);
        error = await Assert.ThrowsAsync<Qcow2FormatException>(
            () => Qcow2Image.OpenAsync(MemoryStorage.ReadOnly(image), options, cancellationToken: TestContext.Current.CancellationToken));
        Assert.Equal(FaultCode.BitmapsExtensionCount, error.Fault.Code);
    }

    [Fact]
    public async Task ASnapshotTableLargerThanTheLimitIsRefused()
    {
        byte[] image = Patched.Usual().WithSnapshots(Patched.Snapshot("1", "a"), Patched.Snapshot("2", "b")).Bytes;
        var options = new Qcow2OpenOptions { Limits = new Qcow2Limits { MaxSnapshotTableBytes = 100 } };
        Qcow2FormatException error = await Assert.ThrowsAsync<Qcow2FormatException>(
            () => Qcow2Image.OpenAsync(MemoryStorage.ReadOnly(image), options, cancellationToken: TestContext.Current.CancellationToken));
        Assert.Equal(FaultCode.SnapshotTableSize, error.Fault.Code);
    }

    /// <summary>An image whose one bitmap has as many entries as its clusters and limits allow: up to 512 MiB of clusters.</summary>
    private static Patched Largest(int clusterBits, bool hasTable, ulong entry)
    {
        // The longest L1 table has 2^22 entries; it has to be announced and is not read.
        int bytesPerL1Entry = (2 * clusterBits) - 3;
        int size = Math.Min(48, 22 + bytesPerL1Entry);
        int granularity = Math.Max(BitmapGranularity.MinBits, size - 32);
        int entries = 1 << (size - granularity - clusterBits - 3);
        var image = new Patched(new TestImage(clusterBits).WithBitmap("a", granularityBits: 16));
        int table = image.Bytes.Length;
        image.Resize(table + (hasTable ? entries * sizeof(ulong) : 0))
            .U64(HeaderLayout.VirtualSize, 1UL << size).U32(HeaderLayout.L1Size, 1U << Math.Max(0, size - bytesPerL1Entry))
            .U8(image.Entry(Patched.Granularity), (byte)granularity)
                .U32(image.Entry(Patched.TableSize), (uint)entries)
                .U64(image.Entry(Patched.TableOffset), (ulong)table);
        for (int i = table; i < image.Bytes.Length; i += sizeof(ulong))
        {
            image.U64(i, entry);
        }

        return image;
    }

    /// <summary>An image whose one bitmap has 8192 entries, all of which name the cluster behind the table.</summary>
    private static Patched Shared(out int data)
    {
        Patched image = Largest(clusterBits: 16, hasTable: true, entry: 0);
        data = image.Bytes.Length;
        for (int i = data - (1 << 16); i < data; i += sizeof(ulong))
        {
            image.U64(i, (ulong)data);
        }

        return image.Resize(data + (1 << 16));
    }

    private static async Task<Probe> RunAsync(byte[] bytes, Strictness strictness, int fixedBytes = Fixed)
    {
        var clock = Stopwatch.StartNew();
        Probe probe = await Probe.RunAsync(MemoryStorage.ReadOnly(bytes), strictness, TestContext.Current.CancellationToken);
        Assert.True(clock.Elapsed < Patience.Limit, $"took {clock.Elapsed}");
        Assert.InRange(probe.OpenAllocatedBytes, 0, (4 << 20) + ((long)PerByte * bytes.Length));
        Assert.InRange(probe.ReadAllocatedBytes, 0, fixedBytes + ((long)PerByte * bytes.Length));
        return probe;
    }
}
