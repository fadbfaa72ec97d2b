using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using Qcow2Bitmaps.Benchmarks.Reporting;
using Qcow2Bitmaps.Benchmarks.Support;
using Qcow2Bitmaps.Compression;

namespace Qcow2Bitmaps.Benchmarks;

/// <summary>Clusters of raw deflate in both directions, beside zlib with QEMU's parameters. The bytes are those of the clusters.</summary>
[BytesPerOperation(Count * Clusters.ClusterBytes)]
[GroupBenchmarksBy(BenchmarkLogicalGroupRule.ByCategory)]
public class DeflateBenchmarks
{
    private const int Count = 128;
    private const double MostLonger = 1.02;

    private readonly NativeZlib _zlib = new();
    private readonly DeflateDecoder _decoder = new();
    private readonly DeflateEncoder _encoder = new();
    private readonly byte[] _cluster = new byte[Clusters.ClusterBytes];
    private readonly byte[] _compressed = new byte[2 * Clusters.ClusterBytes];
    private byte[][] _clusters = [];
    private byte[][] _streams = [];

    [GlobalSetup]
    public void Setup()
    {
        _clusters = Clusters.Read(Count);
        _streams = Array.ConvertAll(_clusters, cluster => _compressed[.._zlib.Compress(cluster, _compressed)]);
        long ours = 0;
        foreach (byte[] cluster in _clusters)
        {
            _encoder.TryEncode(cluster, _compressed, out int length);
            ours += length;
        }

        if (ours > MostLonger * _streams.Sum(static stream => (long)stream.Length))
        {
            throw new InvalidOperationException("The encoder's streams are longer than zlib's");
        }
    }

    [Benchmark(Baseline = true)]
    [BenchmarkCategory("decode")]
    public void ZlibDecode()
    {
        foreach (byte[] stream in _streams)
        {
            _zlib.Decompress(stream, _cluster);
        }
    }

    [Benchmark]
    [BenchmarkCategory("decode")]
    public void Decode()
    {
        foreach (byte[] stream in _streams)
        {
            _decoder.TryDecode(stream, _cluster, out _);
        }
    }

    [Benchmark(Baseline = true)]
    [BenchmarkCategory("encode")]
    public void ZlibEncode()
    {
        foreach (byte[] cluster in _clusters)
        {
            _zlib.Compress(cluster, _compressed);
        }
    }

    [Benchmark]
    [BenchmarkCategory("encode")]
    public void Encode()
    {
        foreach (byte[] cluster in _clusters)
        {
            _encoder.TryEncode(cluster, _compressed, out _);
        }
    }
}
