using FsCheck;
using FsCheck.Fluent;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Creation;

/// <summary>Any options, sensible or not: we take what qemu-img takes, refuse the rest in its words, and make the same files.</summary>
public sealed class RandomOptionsTests
{
    private const int Cases = 100;

    // What is told apart by us only stands in other tests: encryption, full preallocation, sizes that a file system may refuse.
    private static readonly string[] s_options =
    [
        "cluster_size=512", "cluster_size=4k", "cluster_size=8k", "cluster_size=16k", "cluster_size=64k", "cluster_size=128k",
        "cluster_size=2M", "cluster_size=3k",
        "cluster_size=0", "cluster_size=4M", "cluster_size=0x1000", "cluster_size=1.5k", "cluster_size=-1", "cluster_size=", "cluster_size",
        "refcount_bits=1", "refcount_bits=2", "refcount_bits=4", "refcount_bits=8", "refcount_bits=16", "refcount_bits=32",
        "refcount_bits=64", "refcount_bits=3",
        "refcount_bits=0", "refcount_bits=128", "refcount_bits=-1", "refcount_bits=1k", "refcount_bits=020", "refcount_bits=+16",
        "compat=0.10", "compat=1.1", "compat=v2", "compat=v3", "compat=2", "nocompat", "compat=0.10", "compat=0.10",
        "extended_l2=on", "extended_l2=off", "extended_l2", "noextended_l2", "extended_l2=maybe", "extended_l2=on",
        "compression_type=zlib", "compression_type=zstd", "compression_type=lz4",
        "lazy_refcounts=on", "lazy_refcounts=off", "lazy_refcounts=yes", "lazy_refcounts=ON",
        "preallocation=off", "preallocation=metadata", "preallocation=metadata", "preallocation=some",
        "data_file=d", "data_file=d", "data_file_raw=on", "data_file_raw=off",
        "backing_file=base", "backing_fmt=qcow2", "backing_fmt=raw", "backing_fmt=nonsense", "backing_file=nothing",
        "size=1M", "size=1.5M", "size=x", "bogus=1", "help2", "=", "id=a", "encryption=off", "nocow=off", "extent_size_hint=0",
    ];

    private static readonly string[] s_sizes =
        [
            "0", "1", "511", "512", "513", "130k", "1M", "1.9M", "0x12345", "3000000", "+7k", "1.0", "", "-", "1X", "1.5", "8E", "7E",
            "9223372036854775807", "16E", " 5k",
        ];

    private static Gen<string[]> Arguments { get; } =
        from options in Gen.Elements(s_options).ListOf()
        from count in Gen.Frequency((1, Gen.Constant(0)), (6, Gen.Choose(1, 4)), (1, Gen.Constant(9)))
        from backing in Gen.Frequency(
            (6, Gen.Constant<string[]>([])), (2, Gen.Constant<string[]>(["-b", "base", "-F", "qcow2"])),
            (1, Gen.Constant<string[]>(["-b", "base"])), (1, Gen.Constant<string[]>(["-F", "raw"])),
            (1, Gen.Constant<string[]>(["-u", "-b", "nothing", "-F", "raw"])))
        from isQuiet in Gen.Frequency((5, Gen.Constant(false)), (1, Gen.Constant(true)))
        from size in Gen.Frequency(
            (6, Gen.Elements("1M", "130k", "1000", "0").Select(Single)), (3, Gen.Elements(s_sizes).Select(Single)),
            (2, Gen.Constant<string[]>([])))
        select (string[])
        [
            "-f", "qcow2", .. backing, .. isQuiet ? (string[])["-q"] : [],
            .. options.Count > 0 && count > 0 ? (string[])["-o", string.Join(',', options.Take(count))] : [], "--", "x", .. size,
        ];

    private static string[] Single(string text) => [text];

    [Fact]
    public void WeTakeWhatQemuTakesAndSayWhatItSays()
    {
        Qemu.Require();
        int accepted = 0;
        Properties.ForAll(Arguments, Cases, arguments =>
        {
            using CreatedTwice images = CreatedTwice.RunAsync(arguments).GetAwaiter().GetResult();
            Assert.True(images.FindDifference() is null, $"create {string.Join(' ', arguments)}\n{images.FindDifference()}");
            accepted += images.Ours.ExitCode == 0 ? 1 : 0;
        });

        // Enough of both kinds.
        Assert.InRange(accepted, Cases / 10, Cases * 9 / 10);
    }
}
