using BenchmarkDotNet.Attributes;
using Qcow2Bitmaps.Benchmarks.Reporting;
using Qcow2Bitmaps.Benchmarks.Support;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Benchmarks;

/// <summary>The header, its checks and its extensions, from bytes in memory.</summary>
public class HeaderParsingBenchmarks
{
    private byte[] _cluster = [];

    [GlobalSetup]
    public void Setup()
    {
        byte[] image = new ImageBuilder(virtualSizeBytes: 1L << 40).AddClean(["b"], granularityBits: 16).Build();
        _cluster = image[..ImageBuilder.ClusterBytes];
    }

    [Benchmark]
    [BytesPerOperation(ImageBuilder.HeaderAndExtensionsBytes)]
    public int HeaderAndExtensions()
    {
        _ = Qcow2Header.TryRead(_cluster, out Qcow2Header? header, out _);
        int found = header!.Check(Qcow2Limits.Default) is null ? 0 : 1;
        foreach (HeaderExtension extension in new HeaderExtensionEnumerator(_cluster, header.HeaderLength, header.ExtensionAreaEnd))
        {
            found += BitmapsExtension.TryRead(extension.Data, (ulong)extension.DataOffset, out _, out _) ? 1 : 0;
        }

        return found;
    }
}
