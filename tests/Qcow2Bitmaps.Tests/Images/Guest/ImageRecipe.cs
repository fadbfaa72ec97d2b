using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Guest;

/// <summary>
/// How an image is made, by QEMU's tools (<c>img</c>, <c>io</c>) or by ours (<c>own</c>). In commands {f} is the image, {c} the size of its
/// clusters, {r} 3 MiB of random bytes, {o} a smaller image.
/// </summary>
internal sealed record ImageRecipe(string Name, params string[] Commands)
{
    public const string New = "img create -q -f qcow2 -o cluster_size={c} {f} 3000k";

    public static readonly ImageRecipe[] All =
    [
        new("empty", New),
        new("metadata", "img create -q -f qcow2 -o cluster_size={c},preallocation=metadata {f} 3000k"),
        new("metadata, written", "img create -q -f qcow2 -o cluster_size={c},preallocation=metadata {f} 3000k", "io write -P 1 900k 3k"),
        new("falloc", "img create -q -f qcow2 -o cluster_size={c},preallocation=falloc {f} 999936"),
        new("full", "img create -q -f qcow2 -o cluster_size={c},preallocation=full {f} 999936"),
        new("written", New, "io write -P 1 1024k 1k; write -P 2 2999k 512"),
        new("zeros and discards", New, "io write -P 1 1M 1M; write -z 1M 512k; discard 1536k 256k"),
        new("version 2", "img create -q -f qcow2 -o cluster_size={c},compat=0.10 {f} 3000k", "io write -P 1 1024k 1k; write -z 2M 100k"),
        new("counts of 1 bit", "img create -q -f qcow2 -o cluster_size={c},refcount_bits=1 {f} 3000k", "io write -P 1 1024k 1k"),
        new("converted", "img convert -f raw -O qcow2 -o cluster_size={c} {r} {f}"),
        new("converted, metadata", "img convert -f raw -O qcow2 -o cluster_size={c},preallocation=metadata {r} {f}"),
        new("zlib", "img convert -f raw -O qcow2 -c -o cluster_size={c} {r} {f}"),
        new("zstd", "img convert -f raw -O qcow2 -c -o cluster_size={c},compression_type=zstd {r} {f}"),
        new("a compressed write", New, "io write -c -P 1 0 {c}"),
        new("shrunk", "img convert -f raw -O qcow2 -o cluster_size={c} {r} {f}", "img resize -q --shrink {f} 1234432"),
        new(
            "grown, metadata", "img convert -f raw -O qcow2 -o cluster_size={c} {r} {f}",
            "img resize -q --preallocation=metadata {f} 4999680"),
        new("grown, falloc", "img convert -f raw -O qcow2 -o cluster_size={c} {r} {f}", "img resize -q --preallocation=falloc {f} 4999680"),
        new(
            "snapshots", "img convert -f raw -O qcow2 -o cluster_size={c} {r} {f}", "img snapshot -c a {f}", "io write -P 3 0 700k",
            "img snapshot -c b {f}"),
        new(
            "a snapshot gone", "img convert -f raw -O qcow2 -o cluster_size={c} {r} {f}", "img snapshot -c a {f}", "io write -P 3 0 700k",
            "img snapshot -c b {f}", "img snapshot -a a {f}", "img snapshot -d b {f}"),
        new(
            "bitmaps", "img convert -f raw -O qcow2 -o cluster_size={c} {r} {f}", "img bitmap --add {f} b",
            "img bitmap --add -g 512 {f} b2", "io write -P 3 0 70k; write -P 4 1M 512"),
        new(
            "overlay", "img create -q -f qcow2 -o cluster_size={c} -b {o} -F qcow2 {f} 3000k",
            "io write -P 2 1025k 512; write -P 2 2999k 512"),
        new(
            "overlay, rebased", "img create -q -f qcow2 -o cluster_size={c} -b {o} -F qcow2 {f} 3000k", "io write -P 2 1025k 512",
            "img rebase -b %empty {f}"),
        new(
            "subclusters", "img create -q -f qcow2 -o cluster_size={c},extended_l2=on {f} 3000k",
            "io write -P 1 1024k 1k; write -z 1026k 1k"),
        new(
            "subclusters, metadata", "img create -q -f qcow2 -o cluster_size={c},extended_l2=on,preallocation=metadata {f} 3000k",
            "io write -P 1 1024k 1k; write -z 2000k 12k"),
        new("subclusters, converted", "img convert -f raw -O qcow2 -o cluster_size={c},extended_l2=on {r} {f}"),
        new(
            "subclusters, overlay", "img create -q -f qcow2 -o cluster_size={c},extended_l2=on -b {o} -F qcow2 {f} 3000k",
            "io write -P 2 1025k 512; write -P 2 2999k 512"),
        new(
            "data file", "img create -q -f qcow2 -o cluster_size={c},data_file={f}.data {f} 3000k",
            "io write -P 1 1025k 1k; write -z 2M 100k"),
        new(
            "raw data file", "img create -q -f qcow2 -o cluster_size={c},data_file={f}.data,data_file_raw=on {f} 3000k",
            "io write -P 1 1025k 1k; write -z 2M 100k"),
        new(
            "data file, subclusters", "img create -q -f qcow2 -o cluster_size={c},extended_l2=on,data_file={f}.data {f} 3000k",
            "io write -P 1 1025k 1k; write -z 2M 100k"),
        new("own: empty", "own create -q -f qcow2 -o cluster_size={c} {f} 3000k"),
        new("own: metadata", "own create -q -f qcow2 -o cluster_size={c},preallocation=metadata {f} 3000k"),
        new("own: falloc", "own create -q -f qcow2 -o cluster_size={c},preallocation=falloc {f} 999936"),
        new(
            "own: raw data file", "own create -q -f qcow2 -o cluster_size={c},data_file={f}.data,data_file_raw=on {f} 3000k",
            "io write -P 1 1025k 1k"),
        new("own: converted", "own convert -f raw -O qcow2 -o cluster_size={c} {r} {f}"),
        new("own: zlib", "own convert -f raw -O qcow2 -c -o cluster_size={c} {r} {f}"),
        new("own: subclusters", "own convert -f raw -O qcow2 -o cluster_size={c},extended_l2=on {r} {f}"),
        new("own: shrunk", "own convert -f raw -O qcow2 -o cluster_size={c} {r} {f}", "own resize -q --shrink {f} 1234432"),
        new("own: grown", "own convert -f raw -O qcow2 -o cluster_size={c} {r} {f}", "own resize -q --preallocation=metadata {f} 4999680"),
        new(
            "own: snapshots", "own convert -f raw -O qcow2 -o cluster_size={c} {r} {f}", "own snapshot -c a {f}", "io write -P 3 0 700k",
            "own snapshot -c b {f}", "own snapshot -d a {f}"),
        new(
            "own: bitmaps", "own convert -f raw -O qcow2 -o cluster_size={c} {r} {f}", "own bitmap --add {f} b",
            "own bitmap --add -g 512 {f} b2", "io write -P 3 0 70k", "own bitmap --merge b {f} b2"),
        new(
            "own: committed to", "own convert -f raw -O qcow2 -o cluster_size={c} {r} {f}", "own bitmap --add {f} b",
            "own chain snapshot {f} {f}.over", "img resize -q {f}.over 4M", "own chain commit {f}.over {f}"),
        new(
            "own: pulled", "img create -q -f qcow2 -o cluster_size={c} -b {o} -F qcow2 {f} 3000k", "io write -P 2 1025k 512",
            "own chain pull {f}"),
        new(
            "own: flattened", "img create -q -f qcow2 -o cluster_size={c} -b {o} -F qcow2 {f}.over 3000k",
            "own chain flatten {f}.over {f}"),
    ];

    /// <summary>The recipes that there are for clusters of a size.</summary>
    public static IEnumerable<ImageRecipe> For(string clusterSize) =>
        All.Where(recipe =>
            clusterSize is not ("512" or "4k")
                || !recipe.Commands.Any(static command => command.Contains("extended_l2", StringComparison.Ordinal)));

    /// <summary>Makes the image.</summary>
    public async Task MakeAsync(TempFolder folder, string image, string clusterSize)
    {
        string Filled(string word) => word
            .Replace("%empty", "", StringComparison.Ordinal)
            .Replace("{f}", image, StringComparison.Ordinal)
            .Replace("{c}", clusterSize, StringComparison.Ordinal)
            .Replace("{r}", folder.File("random.raw"), StringComparison.Ordinal)
            .Replace("{o}", folder.File("other.qcow2"), StringComparison.Ordinal);
        await PrepareAsync(folder);
        foreach (string command in Commands)
        {
            (string tool, string rest) = (
                command[..command.IndexOf(' ', StringComparison.Ordinal)], command[(command.IndexOf(' ', StringComparison.Ordinal) + 1)..]);
            string[] words = [.. rest.Split(' ').Select(Filled)];
            switch (tool)
            {
                case "img":
                    await Qemu.ImgOkAsync(words);
                    break;
                case "io":
                    await Qemu.IoOkAsync(image, [.. rest.Split("; ").Select(Filled)]);
                    break;
                default:
                    await Support.Cli.OkAsync(words);
                    break;
            }
        }
    }

    private static async Task PrepareAsync(TempFolder folder)
    {
        if (Path.Exists(folder.File("random.raw")))
        {
            return;
        }

        // Not a whole number of clusters, and partly what can be compressed.
        byte[] bytes = new byte[2_999_808];
        new SplitMix(1).Fill(bytes.AsSpan(0, 2_000_000));
        bytes.AsSpan(2_000_000).Fill(7);
        folder.Write("random.raw", bytes);
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", folder.File("other.qcow2"), "2M");
        await Qemu.IoOkAsync(folder.File("other.qcow2"), "write -P 9 1M 300k");
    }
}
