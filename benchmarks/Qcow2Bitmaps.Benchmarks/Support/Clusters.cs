namespace Qcow2Bitmaps.Benchmarks.Support;

/// <summary>Clusters of real bytes: the assemblies and documents that stand beside this program.</summary>
internal static class Clusters
{
    public const int ClusterBytes = 64 << 10;

    /// <summary>As many clusters as asked for, the same in every run of one build.</summary>
    public static byte[][] Read(int count)
    {
        var content = new MemoryStream();
        foreach (string path in Directory.EnumerateFiles(AppContext.BaseDirectory).Order(StringComparer.Ordinal))
        {
            if (Path.GetExtension(path) is ".dll" or ".xml" or ".json")
            {
                content.Write(File.ReadAllBytes(path));
            }
        }

        byte[][] clusters = [.. content.ToArray().Chunk(ClusterBytes).Where(static cluster => cluster.Length == ClusterBytes)];
        // Spread over all of them.
        return clusters.Length < count
            ? throw new InvalidOperationException($"{clusters.Length} clusters are here, {count} are wanted")
            : [.. Enumerable.Range(0, count).Select(i => clusters[(int)((long)i * clusters.Length / count)])];
    }
}
