using BenchmarkDotNet.Attributes;
using Qcow2Bitmaps.Benchmarks.Reporting;
using Qcow2Bitmaps.Benchmarks.Support;
using Qcow2Bitmaps.Bitmaps;

namespace Qcow2Bitmaps.Benchmarks;

/// <summary>Counting dirty bits, by the scalar kernel, the vector kernel and the bitmap: one page in a cache, and 64 MiB.</summary>
[BytesPerOperation(0, PerUnit = GeneratedPages.PageBytes, UnitParameter = nameof(Pages))]
public class CountingBenchmarks
{
    private ulong[][] _words = [];
    private DirtyBitmap _bitmap = new(0, 512);

    [Params(1, 1024)]
    public int Pages { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        var bits = new GeneratedPages(granularityBits: 16, (long)Pages * GeneratedPages.PageBytes, BitPattern.Random, seed: 1);
        _words = bits.ToArrays();
        _bitmap = bits.ToBitmap();
        if (Scalar() != Vector() || Scalar() != Bitmap())
        {
            throw new InvalidOperationException("The counts differ");
        }
    }

    [Benchmark(Baseline = true)]
    public long Scalar()
    {
        long count = 0;
        foreach (ulong[] page in _words)
        {
            count += ScalarBitKernels.Count(page);
        }

        return count;
    }

    [Benchmark]
    public long Vector()
    {
        long count = 0;
        foreach (ulong[] page in _words)
        {
            count += BitKernels.Count(page);
        }

        return count;
    }

    [Benchmark]
    public long Bitmap() => _bitmap.Count().Bits;
}
