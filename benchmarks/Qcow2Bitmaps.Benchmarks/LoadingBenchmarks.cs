using BenchmarkDotNet.Attributes;
using Qcow2Bitmaps.Benchmarks.Reporting;
using Qcow2Bitmaps.Benchmarks.Support;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Benchmarks;

/// <summary>Reading a bitmap of 32 MiB out of an open image: into memory as a whole, and counted in bounded memory.</summary>
/// <remarks>The sparse one has 16 KiB of bits in each MiB that it stands for; its bytes per second are of what it stands for.</remarks>
[BytesPerOperation(BitmapBytes)]
public class LoadingBenchmarks
{
    private const int BitmapBytes = 32 << 20;
    private const int GranularityBits = 16;
    private const string Dense = "dense";
    private const string Sparse = "sparse";

    private string _folder = "";
    private Qcow2Image? _inMemory;
    private Qcow2Image? _inFile;
    private ulong[][] _source = [];

    /// <summary>Not async: in-process runs do not wait for a setup.</summary>
    [GlobalSetup]
    public void Setup()
    {
        var dense = new GeneratedPages(GranularityBits, BitmapBytes, BitPattern.Random, seed: 1);
        var sparse = new GeneratedPages(GranularityBits, BitmapBytes, BitPattern.Sparse, seed: 2);
        byte[] image = new ImageBuilder(dense.SizeBytes).Add(Dense, dense).Add(Sparse, sparse).Build();
        _folder = Directory.CreateTempSubdirectory("qcow2bitmaps-benchmarks-").FullName;
        string path = Path.Combine(_folder, "bitmaps.qcow2");
        File.WriteAllBytes(path, image);
        _inFile = Qcow2Image.OpenAsync(path).GetAwaiter().GetResult();
        _inMemory = Qcow2Image.OpenAsync(MemoryStorage.ReadOnly(image)).GetAwaiter().GetResult();
        _source = dense.ToArrays();
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _inMemory!.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _inFile!.DisposeAsync().AsTask().GetAwaiter().GetResult();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>What loading must do at least: new pages, and the bytes copied into them.</summary>
    [Benchmark(Baseline = true)]
    public ulong[][] CopyToNewPages() => Array.ConvertAll(_source, static page => page.AsSpan().ToArray());

    [Benchmark]
    public Task<DirtyBitmap> DenseFromMemoryAsync() => _inMemory!.Bitmaps.LoadAsync(Dense);

    [Benchmark]
    public Task<DirtyBitmap> DenseFromFileAsync() => _inFile!.Bitmaps.LoadAsync(Dense);

    [Benchmark]
    public Task<DirtyBitmap> SparseFromMemoryAsync() => _inMemory!.Bitmaps.LoadAsync(Sparse);

    [Benchmark]
    public Task<long> CountDenseFromMemoryAsync() => _inMemory!.Bitmaps.CountDirtyBytesAsync(Dense);
}
