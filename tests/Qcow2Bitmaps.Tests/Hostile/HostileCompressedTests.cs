using System.Diagnostics;
using System.IO.Compression;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>
/// Compressed clusters that somebody has made up: streams that are too short, too long, cut, or no streams,
/// end as in QEMU, soon and in little memory.
/// </summary>
public sealed class HostileCompressedTests : IDisposable
{
    private const int Bits = 16;
    private const int Cluster = 1 << Bits;
    private const int Sector = 512;
    private const int BombBytes = 64 << 20;
    private const long MostAllocatedBytes = 16 << 20;

    private readonly TempFolder _folder = new();

    public static TheoryData<bool, string> Cases =>
        [.. new[] { false, true }.SelectMany(static zstd => Streams(zstd).Keys, static (zstd, name) => (zstd, name))];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task AStreamEndsAsInQemu(bool isZstd, string name)
    {
        byte[] image = Image(isZstd, Streams(isZstd)[name]);
        long before = GC.GetAllocatedBytesForCurrentThread();
        var watch = Stopwatch.StartNew();
        (byte[]? bytes, Qcow2Exception? error) = await HostileReading.ReadAsync(image);

        Assert.True(watch.Elapsed < Patience.Limit, watch.Elapsed.ToString());
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < MostAllocatedBytes);
        if (error is not null)
        {
            Assert.IsType<Qcow2FormatException>(error);
        }

        if (!Qemu.IsHere)
        {
            return;
        }

        string raw = _folder.File("disk.raw");
        ProcessResult theirs = await Qemu.ImgAsync("convert", "-f", "qcow2", "-O", "raw", _folder.Write("hostile.qcow2", image), raw);
        Assert.True(theirs.ExitCode == 0 == error is null, $"{theirs.Error}{error?.Message}");
        if (bytes is not null)
        {
            Assert.True((await File.ReadAllBytesAsync(raw, Token)).AsSpan().SequenceEqual(bytes));
        }
    }

    /// <summary>The streams, each for a cluster of 64 KiB.</summary>
    private static Dictionary<string, byte[]> Streams(bool isZstd)
    {
        Func<int, byte[]> pack = isZstd ? Zstd : Deflated;
        byte[] whole = pack(Cluster);
        return new Dictionary<string, byte[]>
        {
            ["whole"] = whole,
            ["bomb"] = pack(BombBytes),
            ["one byte too long"] = pack(Cluster + 1),
            ["one byte short"] = pack(Cluster - 1),
            ["of one byte"] = pack(1),
            ["of nothing"] = pack(0),
            ["cut"] = whole[..(whole.Length / 2)],
            ["without its end"] = whole[..^1],
            ["zeros"] = new byte[Cluster / 2],
            ["ones"] = [.. Enumerable.Repeat((byte)0xff, Cluster / 2)],
            ["garbage"] = Garbage(Cluster / 2),
            ["junk behind it"] = [.. whole, .. Garbage(Sector)],
            ["twice half"] = [.. pack(Cluster / 2), .. pack(Cluster / 2)],
        };
    }

    private static byte[] Garbage(int length)
    {
        var random = new SplitMix(1);
        return [.. Enumerable.Range(0, length).Select(_ => (byte)random.Below(256))];
    }

    private static byte[] Deflated(int length)
    {
        using var packed = new MemoryStream();
        using (var deflate = new DeflateStream(packed, CompressionLevel.Optimal, leaveOpen: true))
        {
            byte[] ones = [.. Enumerable.Repeat((byte)1, Cluster)];
            for (int done = 0; done < length; done += Cluster)
            {
                deflate.Write(ones, 0, Math.Min(Cluster, length - done));
            }
        }

        return packed.ToArray();
    }

    /// <summary>A frame without a content size whose blocks say one byte many times (RFC 8878, 3.1.1).</summary>
    private static byte[] Zstd(int length)
    {
        const int MaxBlock = 128 << 10;
        // Magic number; no flags; a window of 8 MiB.
        var frame = new List<byte> { 0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3 };
        int done = 0;
        do
        {
            int block = Math.Min(MaxBlock, length - done);
            done += block;
            int header = (block << 3) | (1 << 1) | (done == length ? 1 : 0);
            frame.AddRange([(byte)(header & 0xff), (byte)(header >> 8 & 0xff), (byte)(header >> 16), 1]);
        }
        while (done < length);
        return [.. frame];
    }

    private static byte[] Image(bool isZstd, byte[] stream)
    {
        var image = new Patched(new TestImage(Bits, 1 << 20).WithGuestData(1));
        if (isZstd)
        {
            image.U64(HeaderLayout.IncompatibleFeatures, (ulong)IncompatibleFeatures.CompressionType)
                .U8(HeaderLayout.CompressionType, (byte)CompressionType.Zstd);
        }

        int place = image.Bytes.Length;
        image.Resize(place + ((stream.Length + Cluster) & -Cluster));
        stream.CopyTo(image.Bytes, place);
        int additional = Math.Min((stream.Length - 1) / Sector, (Cluster / Sector) - 1);
        return image.U64(
            4 << Bits, L2Entry.CreateCompressed(new CompressedDescriptor((ulong)place, Math.Max(0, additional)), Bits).Raw).Bytes;
    }
}
