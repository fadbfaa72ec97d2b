using BenchmarkDotNet.Attributes;
using Qcow2Bitmaps.Benchmarks.Reporting;
using Qcow2Bitmaps.Benchmarks.Support;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Benchmarks;

/// <summary>Walking the ranges of a bitmap of 4 MiB: of a bitmap in memory, and streamed out of an image in bounded memory.</summary>
[BytesPerOperation(BitmapBytes)]
public class ExtentsBenchmarks
{
    private const int BitmapBytes = 4 << 20;
    private const string Name = "bits";

    private DirtyBitmap _bitmap = new(0, 512);
    private Qcow2Image? _image;

    [Params(BitPattern.Random, BitPattern.Runs, BitPattern.Sparse)]
    public BitPattern Bits { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        var bits = new GeneratedPages(granularityBits: 16, BitmapBytes, Bits, seed: 1);
        _bitmap = bits.ToBitmap();
        byte[] image = new ImageBuilder(bits.SizeBytes).Add(Name, bits).Build();
        _image = Qcow2Image.OpenAsync(MemoryStorage.ReadOnly(image)).GetAwaiter().GetResult();
        if (DirtyExtents() != ReadExtentsAsync().GetAwaiter().GetResult())
        {
            throw new InvalidOperationException("The extents differ");
        }
    }

    [GlobalCleanup]
    public void Cleanup() => _image!.DisposeAsync().AsTask().GetAwaiter().GetResult();

    [Benchmark(Baseline = true)]
    public long DirtyExtents()
    {
        long bytes = 0;
        foreach (DirtyExtent extent in _bitmap.EnumerateExtents())
        {
            bytes += extent.LengthBytes;
        }

        return bytes;
    }

    [Benchmark]
    public long AllExtents()
    {
        long bytes = 0;
        foreach (DirtyExtent extent in _bitmap.EnumerateExtents(includeClean: true))
        {
            bytes += extent.IsDirty ? extent.LengthBytes : 0;
        }

        return bytes;
    }

    [Benchmark]
    public async Task<long> ReadExtentsAsync()
    {
        long bytes = 0;
        await foreach (DirtyExtent extent in _image!.Bitmaps.ReadExtentsAsync(Name))
        {
            bytes += extent.LengthBytes;
        }

        return bytes;
    }
}
