using BenchmarkDotNet.Attributes;
using Qcow2Bitmaps.Benchmarks.Reporting;
using Qcow2Bitmaps.Benchmarks.Support;
using Qcow2Bitmaps.Bitmaps;

namespace Qcow2Bitmaps.Benchmarks;

/// <summary>Merging one bitmap into another, beside a plain copy of the same bytes between the same sorts of pages.</summary>
/// <remarks>
/// The finer bitmap of each pair has 64 MiB of bits, which no cache holds, and those are the bytes that count. Targets have all
/// of their sources' bits before measuring starts, and stay dense: each operation does the same again.
/// </remarks>
[BytesPerOperation(FinerBytes)]
public class MergingBenchmarks
{
    private const long FinerBytes = 64L << 20;
    private const int GranularityBits = 16;

    private ulong[][] _copySource = [];
    private ulong[][] _copyTarget = [];
    private DirtyBitmap _source = new(0, 512);
    private DirtyBitmap _target = new(0, 512);

    /// <summary>As a merge finds its pages: each an array of its own.</summary>
    [GlobalSetup(Target = nameof(PlainCopy))]
    public void SetupPlainCopy()
    {
        _copySource = Bits(0, seed: 1).ToArrays();
        _copyTarget = Bits(0, seed: 2).ToArrays();
    }

    [GlobalSetup(Target = nameof(SameGranularity))]
    public void SetupSameGranularity() => Setup(Bits(0, seed: 1), Bits(0, seed: 2));

    [GlobalSetup(Target = nameof(CoarserIntoFiner1))]
    public void SetupCoarserIntoFiner1() => Setup(Bits(1, seed: 1), Bits(0, seed: 2));

    [GlobalSetup(Target = nameof(CoarserIntoFiner4))]
    public void SetupCoarserIntoFiner4() => Setup(Bits(4, seed: 1), Bits(0, seed: 2));

    [GlobalSetup(Target = nameof(FinerIntoCoarser1))]
    public void SetupFinerIntoCoarser1() => Setup(Bits(0, seed: 1), Bits(1, seed: 2));

    [GlobalSetup(Target = nameof(FinerIntoCoarser4))]
    public void SetupFinerIntoCoarser4() => Setup(Bits(0, seed: 1), Bits(4, seed: 2));

    [GlobalSetup(Target = nameof(UniformIntoUniform))]
    public void SetupUniformIntoUniform()
    {
        BitmapGeometry geometry = BitmapGeometry.Of(Bits(0, seed: 1));
        _source = new DirtyBitmap(geometry);
        _target = new DirtyBitmap(geometry);
        _source.SetAll();
        _target.SetAll();
    }

    [Benchmark(Baseline = true)]
    public void PlainCopy()
    {
        for (int page = 0; page < _copySource.Length; page++)
        {
            _copySource[page].AsSpan().CopyTo(_copyTarget[page]);
        }
    }

    [Benchmark]
    public void SameGranularity() => _target.Merge(_source);

    /// <summary>Each bit of the source becomes 2.</summary>
    [Benchmark]
    public void CoarserIntoFiner1() => _target.Merge(_source);

    /// <summary>Each bit of the source becomes 16.</summary>
    [Benchmark]
    public void CoarserIntoFiner4() => _target.Merge(_source);

    /// <summary>2 bits of the source become one.</summary>
    [Benchmark]
    public void FinerIntoCoarser1() => _target.Merge(_source);

    /// <summary>16 bits of the source become one.</summary>
    [Benchmark]
    public void FinerIntoCoarser4() => _target.Merge(_source);

    /// <summary>All dirty into all dirty: the bytes are those that the pages stand for.</summary>
    [Benchmark]
    public void UniformIntoUniform() => _target.Merge(_source);

    private void Setup(GeneratedPages source, GeneratedPages target)
    {
        _source = source.ToBitmap();
        _target = target.ToBitmap();
        _target.Merge(_source);
        for (int page = 0; page < BitmapGeometry.Of(_target).PageCount; page++)
        {
            if (((IBitmapPages)_target).KindOf(page) != BitmapPageKind.Bits)
            {
                throw new InvalidOperationException("A page has become uniform");
            }
        }

        // The runner counts the bytes of the whole process, its own now and then among them; those of this thread are exact.
        long before = GC.GetAllocatedBytesForCurrentThread();
        _target.Merge(_source);
        if (GC.GetAllocatedBytesForCurrentThread() != before)
        {
            throw new InvalidOperationException("Merging dense bitmaps has allocated");
        }
    }

    /// <summary>Random bits over the same disk, some steps of granularity coarser than the finest.</summary>
    private static GeneratedPages Bits(int steps, ulong seed) =>
        new(GranularityBits + steps, FinerBytes >> steps, BitPattern.Random, seed);
}
