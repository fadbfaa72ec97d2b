using System.Globalization;
using BenchmarkDotNet.Attributes;
using Qcow2Bitmaps.Benchmarks.Reporting;
using Qcow2Bitmaps.Benchmarks.Support;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Benchmarks;

/// <summary>The bitmap directory, and the opening of an image, which reads the first cluster and the directory and no bits.</summary>
public class ParsingBenchmarks
{
    private const int GranularityBits = 16;

    // A name of 8 bytes, so that an entry has no padding.
    private const int EntryBytes = BitmapDirectoryEntry.FixedBytes + 8;

    private byte[] _directory = [];
    private ImageGeometry _geometry;
    private MemoryStorage? _storage;

    [Params(1, 100, 10_000)]
    public int Bitmaps { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        IEnumerable<string> names = Enumerable.Range(0, Bitmaps)
            .Select(static i => string.Create(CultureInfo.InvariantCulture, $"b{i:0000000}"));
        byte[] image = new ImageBuilder(virtualSizeBytes: 1L << 40).AddClean(names, GranularityBits).Build();
        _storage = MemoryStorage.ReadOnly(image);
        _geometry = OpenImageAsync().GetAwaiter().GetResult().Geometry;
        // The builder puts the directory last.
        int directoryClusters = (int)_geometry.ClustersFor((long)Bitmaps * EntryBytes);
        _directory = image.AsSpan(image.Length - (directoryClusters * ImageBuilder.ClusterBytes), Bitmaps * EntryBytes).ToArray();
    }

    [Benchmark]
    [BytesPerOperation(0, PerUnit = EntryBytes, UnitParameter = nameof(Bitmaps))]
    public int Directory()
    {
        int faults = 0;
        for (int at = 0; at < _directory.Length;)
        {
            if (!BitmapDirectoryEntry.TryRead(_directory.AsSpan(at), out BitmapDirectoryEntry entry))
            {
                throw new InvalidOperationException("The directory is not as it was built");
            }

            faults += entry.CheckFaults(0, (ulong)at, _geometry, Qcow2Limits.Default).Count;
            at += entry.SizeBytes;
        }

        return faults;
    }

    [Benchmark]
    [BytesPerOperation(ImageBuilder.ClusterBytes, PerUnit = EntryBytes, UnitParameter = nameof(Bitmaps))]
    public Task<Qcow2Image> OpenImageAsync() => Qcow2Image.OpenAsync(_storage!, leaveOpen: true);
}
