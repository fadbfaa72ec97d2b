using BenchmarkDotNet.Attributes;
using Qcow2Bitmaps.Benchmarks.Reporting;
using Qcow2Bitmaps.Benchmarks.Support;
using Qcow2Bitmaps.Compression;

namespace Qcow2Bitmaps.Benchmarks;

/// <summary>Decoding clusters of zstd, beside libzstd. The bytes are those of the clusters.</summary>
[BytesPerOperation(Count * Clusters.ClusterBytes)]
public class ZstdBenchmarks
{
    private const int Count = 128;

    // Benchmark classes are not disposed; it lives as long as the process.
    private static readonly ZstdDecoder s_decoder = new();

    private readonly byte[] _cluster = new byte[Clusters.ClusterBytes];
    private byte[][] _frames = [];

    [Params(1, 3, 19)]
    public int Level { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        byte[][] clusters = Clusters.Read(Count);
        _frames = Array.ConvertAll(clusters, cluster => NativeZstd.Compress(cluster, Level));
        for (int i = 0; i < Count; i++)
        {
            if (!s_decoder.TryDecode(_frames[i], _cluster, out _) || !_cluster.AsSpan().SequenceEqual(clusters[i]))
            {
                throw new InvalidOperationException("A cluster is decoded wrongly");
            }
        }
    }

    [Benchmark(Baseline = true)]
    public void LibZstd()
    {
        foreach (byte[] frame in _frames)
        {
            NativeZstd.Decompress(frame, _cluster);
        }
    }

    [Benchmark]
    public void Decode()
    {
        foreach (byte[] frame in _frames)
        {
            s_decoder.TryDecode(frame, _cluster, out _);
        }
    }
}
