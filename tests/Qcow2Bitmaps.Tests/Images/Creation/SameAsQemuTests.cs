using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Creation;

/// <summary>What we make is what qemu-img makes: the same bytes, output, messages and exit codes.</summary>
public sealed class SameAsQemuTests
{
    public static TheoryData<string> ClusterSizes =>
        new("512", "1k", "2k", "4k", "8k", "16k", "32k", "64k", "128k", "256k", "512k", "1M", "2M");

    public static TheoryData<int> RefcountWidths => new(1, 2, 4, 8, 16, 32, 64);

    [Theory]
    [MemberData(nameof(ClusterSizes))]
    public async Task EveryClusterSize(string clusterSize)
    {
        await RequireSameAsync("-f", "qcow2", "-o", $"cluster_size={clusterSize}", "x", "0");
        await RequireSameAsync("-f", "qcow2", "-o", $"cluster_size={clusterSize},lazy_refcounts=on,compression_type=zstd", "x", "100M");
        await RequireSameAsync("-f", "qcow2", "-o", $"cluster_size={clusterSize},preallocation=metadata", "x", "7777777");
        await RequireSameAsync("-f", "qcow2", "-o", $"cluster_size={clusterSize},compat=0.10,preallocation=metadata", "x", "1000");
    }

    [Theory]
    [InlineData("data_file=d,cluster_size=512", "7777777")]
    [InlineData("data_file=d,preallocation=metadata", "130k")]
    [InlineData("data_file=d,data_file_raw=on", "1000")]
    [InlineData("data_file=d,data_file_raw=on", "100G")]
    [InlineData("data_file=d,data_file_raw=on,cluster_size=4k", "7777777")]
    [InlineData("data_file=d,data_file_raw=on,cluster_size=2M,preallocation=off", "7777777")]
    [InlineData("data_file=d,extended_l2=on,preallocation=metadata", "130k")]
    [InlineData("data_file=d,extended_l2=on,data_file_raw=on", "1300M")]
    public async Task DataFiles(string options, string size) => await RequireSameAsync("-f", "qcow2", "-o", options, "x", size);

    [Theory]
    [InlineData("16k")]
    [InlineData("64k")]
    [InlineData("2M")]
    public async Task ExtendedL2Entries(string clusterSize)
    {
        foreach (string options in new[] { "preallocation=off", "preallocation=metadata" })
        {
            await RequireSameAsync("-f", "qcow2", "-o", $"extended_l2=on,cluster_size={clusterSize},{options}", "x", "130k");
            await RequireSameAsync("-f", "qcow2", "-o", $"extended_l2=on,cluster_size={clusterSize},{options}", "x", "1300M");
        }

        await RequireSameAsync(
            "-f", "qcow2", "-b", "base", "-F", "qcow2", "-o", $"extended_l2=on,preallocation=metadata,cluster_size={clusterSize}", "x",
            "5M");
    }

    [Theory]
    [MemberData(nameof(RefcountWidths))]
    public async Task EveryRefcountWidth(int bits)
    {
        // As far as one cluster holds the refcount table: then blocks stand between the data.
        await RequireSameAsync("-f", "qcow2", "-o", $"refcount_bits={bits},cluster_size=512,preallocation=metadata", "x", "1900k");
        await RequireSameAsync("-f", "qcow2", "-o", $"refcount_bits={bits},cluster_size=1k,preallocation=metadata", "x", "14M");
        await RequireSameAsync("-f", "qcow2", "-o", $"refcount_bits={bits},preallocation=metadata", "x", "5G");
    }

    [Theory]
    [InlineData("preallocation=metadata", "1T")]
    [InlineData("preallocation=metadata,cluster_size=128k,refcount_bits=64", "9G")]
    [InlineData("preallocation=metadata,cluster_size=256k,refcount_bits=64", "9G")]
    [InlineData("preallocation=metadata,cluster_size=2M,extended_l2=on", "8T")]
    [InlineData("cluster_size=512", "4G")]
    [InlineData("cluster_size=512,refcount_bits=64", "2G")]
    [InlineData("cluster_size=4k", "8T")]
    [InlineData("cluster_size=2M", "2E")]
    [InlineData("cluster_size=2M,extended_l2=on", "1E")]
    public async Task LargeDisks(string options, string size) => await RequireSameAsync("-f", "qcow2", "-o", options, "x", size);

    [Theory]
    [InlineData("-b base -F qcow2 x")]
    [InlineData("-b base -F qcow2 x 10M")]
    [InlineData("-b base -F qcow2 -o cluster_size=512 x 1M")]
    [InlineData("-b base -F qcow2 -o compat=0.10 x")]
    [InlineData("-b base -F raw x")]
    [InlineData("-b ./base -F qcow2 -o data_file=d,lazy_refcounts=on,compression_type=zstd x")]
    [InlineData("-u -b nothing -F vmdk x 1M")]
    [InlineData("-u -b nbd:there -F raw x 1M")]
    [InlineData("-u -b a,b -F raw x 1M")]
    [InlineData("-o backing_file=base,backing_fmt=qcow2 x")]
    [InlineData("-u -o backing_file=a,,b,backing_fmt=raw x 1M")]
    [InlineData("-o backing_file=nothing,backing_fmt=raw -b base -F qcow2 x")]
    [InlineData("-o size=2M -b base -F qcow2 x")]
    [InlineData("-o size=2M -o cluster_size=4k -o cluster_size=8k x")]
    [InlineData("-o compat=v2 x 1M")]
    [InlineData("-o compat=v3,encryption=off,nocow=off,extent_size_hint=0 x 1M")]
    [InlineData("-o extended_l2,nolazy_refcounts x 1M")]
    [InlineData("-o extended_l2=yes,lazy_refcounts=false,data_file_raw=n x 1M")]
    [InlineData("-q x 1M")]
    public async Task Names(string arguments) => await RequireSameAsync(["-f", "qcow2", .. arguments.Split(' ')]);

    [Theory]
    [InlineData("x 0")]
    [InlineData("x 1001")]
    [InlineData("-f raw x 1M")]
    [InlineData("-f raw -o size=3M x")]
    [InlineData("-f raw -o preallocation=off,nocow=off,extent_size_hint=0 x 1M")]
    [InlineData("-f raw -q x 1T")]
    public async Task RawImages(string arguments) => await RequireSameAsync(arguments.Split(' '));

    [Theory]
    [InlineData("x")]
    [InlineData("-f nonsense x 1M")]
    [InlineData("-f qcow2 x")]
    [InlineData("-f qcow2 x 1X")]
    [InlineData("-f qcow2 x 8E")]
    [InlineData("-f qcow2 x 7E")]
    [InlineData("-f qcow2 x 9223372036854775807")]
    [InlineData("-f qcow2 x 9223372036854775295")]
    [InlineData("-f qcow2 -o size=9E x")]
    [InlineData("-f qcow2 -o size=16E x")]
    [InlineData("-f qcow2 -o size=1M x 1M")]
    [InlineData("-f qcow2 -- x -1")]
    [InlineData("-f qcow2 -o cluster_size=512 x 137438953473")]
    [InlineData("-f qcow2 -o cluster_size=16k,extended_l2=on x 65T")]
    [InlineData("-f qcow2 -o cluster_size=2M x 2305843009213693953")]
    [InlineData("-f qcow2 -o , x 1M")]
    [InlineData("-f qcow2 -o cluster_size=4k, x 1M")]
    [InlineData("-f qcow2 -o size=1M,, x")]
    [InlineData("-f qcow2 -o bogus x 1M")]
    [InlineData("-f qcow2 -o =3 x 1M")]
    [InlineData("-f qcow2 -o cluster_size x 1M")]
    [InlineData("-f qcow2 -o refcount_bits=18446744073709551616 x 1M")]
    [InlineData("-f qcow2 -o refcount_bits=18446744073709551615 x 1M")]
    [InlineData("-f qcow2 -o lazy_refcounts=1 x 1M")]
    [InlineData("-f qcow2 -b nothing -F raw x 1M")]
    [InlineData("-f qcow2 -b base x 1M")]
    [InlineData("-f qcow2 -u -b base x 1M")]
    [InlineData("-f qcow2 -u -b base -F qcow2 x")]
    [InlineData("-f qcow2 -u -b base -F nonsense x 1M")]
    [InlineData("-f qcow2 -F qcow2 x 1M")]
    [InlineData("-f qcow2 -b x -F qcow2 x 1M")]
    [InlineData("-f qcow2 -b base -F qcow2 -o data_file=d,data_file_raw=on x")]
    [InlineData("-f qcow2 -b base -F qcow2 -o preallocation=metadata x")]
    [InlineData("-f qcow2 -o data_file_raw=on x 1M")]
    [InlineData("-f raw -b base x 1M")]
    [InlineData("-f raw -F qcow2 x 1M")]
    [InlineData("-f raw -o cluster_size=4k x 1M")]
    [InlineData("-f raw -o preallocation=nonsense x 1M")]
    public async Task Refusals(string arguments)
    {
        using CreatedTwice images = await RunAsync(arguments.Split(' '));

        Assert.Equal(1, images.Qemu.ExitCode);
        Assert.Null(images.FindDifference());
        Assert.False(Path.Exists(images.OurImage));
    }

    [Theory]
    [InlineData(1023, "64k", 0)]
    [InlineData(1024, "64k", 1)]
    [InlineData(376, "512", 0)]
    [InlineData(377, "512", 1)]
    public async Task LongNamesOfBackingFiles(int length, string clusterSize, int exitCode)
    {
        using CreatedTwice images = await RunAsync(
            "-f", "qcow2", "-u", "-b", new string('b', length), "-F", "qcow2", "-o", "cluster_size=" + clusterSize, "x", "1M");

        Assert.Equal(exitCode, images.Qemu.ExitCode);
        Assert.Null(images.FindDifference());
    }

    [Theory]
    [InlineData(383, 0)]
    [InlineData(385, 1)]
    public async Task LongNamesOfDataFiles(int length, int exitCode)
    {
        string name = string.Concat(Enumerable.Repeat("./", length / 2)) + "d";
        using CreatedTwice images = await RunAsync("-f", "qcow2", "-o", $"cluster_size=512,data_file={name}", "x", "1M");

        Assert.Equal(exitCode, images.Qemu.ExitCode);
        Assert.Null(images.FindDifference());
    }

    /// <summary>
    /// QEMU starts with a refcount table of one cluster; when that is full it writes a larger one behind the data and frees the old one.
    /// Ours has its size from the start, so that the layout differs, and no cluster is left over.
    /// </summary>
    [Theory]
    [InlineData("cluster_size=512,refcount_bits=64,preallocation=metadata", "40M")]
    [InlineData("cluster_size=512,refcount_bits=16,preallocation=metadata", "64M")]
    [InlineData("cluster_size=512,refcount_bits=64", "12G")]
    [InlineData("cluster_size=1k,refcount_bits=64,preallocation=metadata,compat=1.1", "200M")]
    [InlineData("cluster_size=512,refcount_bits=1,preallocation=metadata", "300M")]
    public async Task RefcountTablesOfSeveralClustersDifferInLayoutOnly(string options, string size)
    {
        using CreatedTwice images = await RunAsync("-f", "qcow2", "-o", options, "x", size);

        Assert.Equal((0, images.Qemu.Output, ""), (images.Ours.ExitCode, images.Ours.Output, images.Ours.Error));
        Assert.NotNull(images.FindDifference());
        string check = await Qemu.ImgOkAsync("check", images.OurImage);
        Assert.StartsWith("No errors were found on the image.\n", check, StringComparison.Ordinal);
        Assert.InRange(SparseFiles.LengthOf(images.OurImage), 0, SparseFiles.LengthOf(images.QemuImage));
        Assert.Equal(0, (await Qemu.ImgAsync("compare", images.QemuImage, images.OurImage)).ExitCode);
    }

    private static async Task RequireSameAsync(params string[] arguments)
    {
        using CreatedTwice images = await RunAsync(arguments);

        Assert.True(images.FindDifference() is null, $"create {string.Join(' ', arguments)}\n{images.FindDifference()}");
        Assert.Equal(0, images.Ours.ExitCode);
    }

    private static Task<CreatedTwice> RunAsync(params string[] arguments)
    {
        Qemu.Require();
        return CreatedTwice.RunAsync(arguments);
    }
}
