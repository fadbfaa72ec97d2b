using System.Diagnostics;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>L1 and L2 tables that somebody has made up: reading and mapping end soon, in a clean error or with what QEMU reads.</summary>
public sealed class HostileGuestTests : IDisposable
{
    private const int Cluster = 4096;
    private const int L1 = 3 * Cluster;
    private const int L2 = 4 * Cluster;
    private const ulong Copied = 1UL << 63;
    private const ulong Compressed = 1UL << 62;

    private static readonly ulong[] s_entries =
    [
        0, 1, Copied, Copied | 1, 2, 0x1FE, 512, Copied | 0x1200, Cluster, L1, L2, Copied | L1, Copied | L2, 5 * Cluster,
        (5 * Cluster) + 512,
        1UL << 40, (1UL << 56) - Cluster, 0x00FF_FFFF_FFFF_FE00, 1UL << 57, 1UL << 61, Compressed, Compressed | Copied | L2,
        Compressed | (5 * Cluster), Compressed | ((1UL << 62) - 1),
        Compressed | (1UL << 58) | (5 * Cluster) | 100, Compressed | (1UL << 40), ulong.MaxValue,
    ];

    private readonly TempFolder _folder = new();

    public static TheoryData<string, ulong> Entries => [.. s_entries.SelectMany(static entry => new[] { ("L1", entry), ("L2", entry) })];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Entries))]
    public async Task AnEntryEndsAsInQemu(string table, ulong entry)
    {
        var image = new Patched(new TestImage(virtualSizeBytes: 1 << 20).WithGuestData(3));
        image.U64(table == "L1" ? L1 : L2 + sizeof(ulong), entry);
        (byte[]? bytes, Qcow2Exception? readError) = await HostileReading.ReadAsync(image.Bytes);
        (_, Qcow2Exception? mapError) = await MapAsync(MemoryStorage.ReadOnly(image.Bytes));
        Assert.True(mapError is null || readError is not null, mapError?.Message);
        if (!Qemu.IsHere)
        {
            return;
        }

        string path = _folder.Write("hostile.qcow2", image.Bytes);
        string raw = _folder.File("disk.raw");
        ProcessResult theirs = await Qemu.ImgAsync("convert", "-f", "qcow2", "-O", "raw", path, raw);
        Assert.True(theirs.ExitCode == 0 == readError is null, $"{theirs.Error}{readError?.Message}");
        if (bytes is not null)
        {
            Assert.True((await File.ReadAllBytesAsync(raw, Token)).AsSpan().SequenceEqual(bytes));
        }
    }

    /// <summary>Four million entries that name one table of eight thousand: 32 MiB that look like 2 PiB in pieces.</summary>
    [Fact]
    public async Task AnL1TableWhoseEntriesAllNameOneTableIsRefused()
    {
        const int L1Entries = 4 << 20;
        const int Bits = 16;
        Patched image = new(new TestImage(Bits, 1 << 20).WithGuestData(1));
        int l1 = image.Bytes.Length;
        image.Resize(l1 + (L1Entries * sizeof(ulong)))
            .U64(HeaderLayout.VirtualSize, (ulong)L1Entries << (Bits - 3 + Bits))
            .U32(HeaderLayout.L1Size, L1Entries)
            .U64(HeaderLayout.L1TableOffset, (ulong)l1);
        for (int i = 0; i < L1Entries; i++)
        {
            image.U64(l1 + (i * sizeof(ulong)), Copied | (4 << Bits));
        }

        var watch = Stopwatch.StartNew();
        (_, Qcow2Exception? error) = await MapAsync(MemoryStorage.ReadOnly(image.Bytes));

        Assert.Equal(FaultCode.L1TableAliased, Assert.IsType<Qcow2FormatException>(error).Fault.Code);
        Assert.True(watch.Elapsed < Patience.Limit, watch.Elapsed.ToString());
    }

    /// <summary>Tables behind the file's end read as zeros, as in QEMU, and cost nothing.</summary>
    [Fact]
    public async Task AnL1TableWhoseEntriesLieBehindTheFileIsOneHole()
    {
        const int L1Entries = 4 << 20;
        const int Bits = 16;
        Patched image = new(new TestImage(Bits, 1 << 20));
        int l1 = image.Bytes.Length;
        image.Resize(l1 + (L1Entries * sizeof(ulong)))
            .U64(HeaderLayout.VirtualSize, (ulong)L1Entries << (Bits - 3 + Bits))
            .U32(HeaderLayout.L1Size, L1Entries)
            .U64(HeaderLayout.L1TableOffset, (ulong)l1);
        for (int i = 0; i < L1Entries; i++)
        {
            image.U64(l1 + (i * sizeof(ulong)), Copied | ((1UL << 40) + ((ulong)i << Bits)));
        }

        var watch = Stopwatch.StartNew();
        (int extents, Qcow2Exception? error) = await MapAsync(MemoryStorage.ReadOnly(image.Bytes));

        Assert.Null(error);
        Assert.Equal(1, extents);
        Assert.True(watch.Elapsed < Patience.Limit, watch.Elapsed.ToString());
    }

    private static async Task<(int Extents, Qcow2Exception? Error)> MapAsync(ImageStorage storage)
    {
        int extents = 0;
        try
        {
            await using ImageChain chain = await ImageChain.OpenAsync(storage, cancellationToken: Token);
            await foreach (DiskExtent _ in chain.MapAsync(cancellationToken: Token))
            {
                extents++;
            }

            return (extents, null);
        }
        catch (Qcow2Exception e)
        {
            return (extents, e);
        }
    }
}
