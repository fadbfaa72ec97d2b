namespace Qcow2Bitmaps.Tests.Fixtures;

public static partial class FixtureIndex
{
    /// <summary>Gets the single images.</summary>
    public static IReadOnlyList<Fixture> Images { get; } =
    [
        new("images/v2-plain.qcow2", "qcow2", 1_048_576, "A version 2 image without bitmaps."),
        new("images/v2-snapshot.qcow2", "qcow2", 1_048_576, "A version 2 image with an internal snapshot."),
        new("images/v3-plain.qcow2", "qcow2", 1_048_576, "A version 3 image without bitmaps."),
        new("images/empty-disk.qcow2", "qcow2", 0, "A virtual disk of 0 bytes."),
        new("images/plain.raw", "raw", SmallSize, "A raw file whose length is no multiple of 64 KiB."),
        new("images/cluster-512.qcow2", "qcow2", OddSize, "The smallest clusters: metadata spreads over many of them.")
        {
            Bitmaps = [Auto("fine", 512), Disabled("coarse", 65_536)],
        },
        new("images/cluster-1k.qcow2", "qcow2", OddSize, "Clusters of 1 KiB.")
        {
            Bitmaps = [Auto("fine", 1_024), Disabled("coarse", 2_097_152)],
        },
        new(
            "images/cluster-4k.qcow2",
            "qcow2",
            OddSize,
            "Clusters of 4 KiB: the largest without a feature name table.")
        {
            Bitmaps = [Auto("fine", 4_096), Disabled("coarse", 32_768)],
        },
        new("images/cluster-16k.qcow2", "qcow2", OddSize, "Clusters of 16 KiB and the smallest granularity.")
        {
            Bitmaps = [Auto("fine", 512), Disabled("coarse", 131_072)],
        },
        new("images/cluster-64k.qcow2", "qcow2", OddSize, "QEMU's default clusters.")
        {
            Bitmaps = [Auto("fine", 4_096), Disabled("coarse", 1_048_576)],
        },
        new("images/cluster-1m.qcow2", "qcow2", OddSize, "Clusters of 1 MiB, written by convert, without data.")
        {
            Bitmaps = [Auto("fine", 65_536), Disabled("coarse", 4_194_304)],
        },
        new("images/cluster-2m.qcow2", "qcow2", OddSize, "The largest clusters, written by convert, without data.")
        {
            Bitmaps = [Auto("fine", 8_192), Disabled("coarse", 1_048_576)],
        },
        new("images/refcount-1.qcow2", "qcow2", OddSize, "Refcounts of 1 bit.")
        {
            Bitmaps = [Auto("fine", 4_096), Disabled("coarse", 65_536)],
        },
        new("images/refcount-2.qcow2", "qcow2", OddSize, "Refcounts of 2 bits.")
        {
            Bitmaps = [Auto("fine", 4_096), Disabled("coarse", 65_536)],
        },
        new("images/refcount-4.qcow2", "qcow2", OddSize, "Refcounts of 4 bits.")
        {
            Bitmaps = [Auto("fine", 4_096), Disabled("coarse", 65_536)],
        },
        new("images/refcount-8.qcow2", "qcow2", OddSize, "Refcounts of 8 bits.")
        {
            Bitmaps = [Auto("fine", 4_096), Disabled("coarse", 65_536)],
        },
        new("images/refcount-32.qcow2", "qcow2", OddSize, "Refcounts of 32 bits.")
        {
            Bitmaps = [Auto("fine", 4_096), Disabled("coarse", 65_536)],
        },
        new("images/refcount-64.qcow2", "qcow2", OddSize, "Refcounts of 64 bits.")
        {
            Bitmaps = [Auto("fine", 4_096), Disabled("coarse", 65_536)],
        },
        new("images/compression-zlib.qcow2", "qcow2", SmallSize, "Clusters compressed with deflate.")
        {
            Bitmaps = [Auto("first", 4_096), Disabled("second", 65_536)],
        },
        new(
            "images/compression-zstd.qcow2",
            "qcow2",
            SmallSize,
            "Clusters compressed with zstd, an incompatible feature.")
        {
            Bitmaps = [Auto("first", 4_096), Disabled("second", 65_536)],
        },
        new("images/extended-l2.qcow2", "qcow2", OddSize, "Extended L2 entries with subclusters.")
        {
            Bitmaps = [Auto("fine", 512), Disabled("coarse", 65_536)],
        },
        new(
            "images/data-file.qcow2",
            "qcow2",
            SmallSize,
            "Guest data in an external file; the bitmaps stay in the image.")
        {
            Bitmaps = [Auto("first", 4_096), Auto("second", 65_536)],
        },
        new("images/data-file-raw.qcow2", "qcow2", SmallSize, "A raw external data file, with its autoclear bit.")
        {
            Bitmaps = [Auto("first", 4_096), Auto("second", 65_536)],
        },
        new("images/preallocated.qcow2", "qcow2", 262_656, "Preallocated metadata.")
        {
            Bitmaps = [Auto("first", 4_096), Auto("second", 65_536)],
        },
        new(
            "images/snapshots.qcow2",
            "qcow2",
            OddSize,
            "Two internal snapshots, one with a non-ASCII name, beside bitmaps.")
        {
            Bitmaps = [Auto("first", 4_096), Auto("second", 65_536)],
        },
        new(
            "images/luks.qcow2",
            "qcow2",
            SmallSize,
            "LUKS encryption: bitmaps are readable without the passphrase (which is \"fixture\").")
        {
            Bitmaps = [Auto("nightly", 4_096)],
        },
        new("images/aes.qcow2", "qcow2", SmallSize, "Legacy AES encryption, same passphrase.")
        {
            Bitmaps = [Auto("nightly", 4_096)],
        },
        new(
            "images/in-use.qcow2",
            "qcow2",
            OddSize,
            "Both bitmaps left in-use by a killed writer, one of them disabled.")
        {
            Bitmaps = [InUse("fine", 4_096), InUseDisabled("coarse", 65_536)],
        },
        new("images/in-use-and-good.qcow2", "qcow2", OddSize, "Two in-use bitmaps and a good one added afterwards.")
        {
            Bitmaps = [InUse("fine", 4_096), InUseDisabled("coarse", 65_536), Auto("recovered", 4_096)],
        },
        new("images/flag-combinations.qcow2", "qcow2", OddSize, "All four combinations of auto and in-use.")
        {
            Bitmaps =
            [
                InUse("in-use-auto", 4_096),
                InUseDisabled("in-use-disabled", 65_536),
                Auto("auto", 8_192),
                Disabled("disabled", 16_384),
            ],
        },
        new("images/lazy-refcounts.qcow2", "qcow2", OddSize, "Lazy refcounts, closed properly.")
        {
            Bitmaps = [Auto("fine", 4_096), Disabled("coarse", 65_536)],
        },
        new(
            "images/lazy-refcounts-dirty.qcow2",
            "qcow2",
            OddSize,
            "The dirty feature bit and in-use bitmaps after a killed writer.")
        {
            Bitmaps = [InUse("fine", 4_096), InUseDisabled("coarse", 65_536)],
        },
        new("images/all-dirty.qcow2", "qcow2", SmallSize, "Every bit is set.")
        {
            Bitmaps = [Auto("everything", 4_096)],
        },
        new("images/all-clean.qcow2", "qcow2", SmallSize, "No bit is set, although the disk has data.")
        {
            Bitmaps = [Auto("nothing", 4_096)],
        },
        new("images/odd-bit-count.qcow2", "qcow2", 328_192, "Bitmaps of 6 and of 11 bits, no whole bytes.")
        {
            Bitmaps = [Auto("six-bits", 65_536), Auto("eleven-bits", 32_768)],
        },
        new(
            "images/all-ones-entry.qcow2",
            "qcow2",
            4_194_304,
            "Table entries for all ones and all zeroes, without data clusters (patched).")
        {
            Bitmaps = [Auto("ones", 65_536), Auto("zeroes", 65_536)],
        },
        new(
            "images/granularity-limits.qcow2",
            "qcow2",
            8_589_934_592,
            "The smallest and the largest granularity on a sparse 8 GiB disk.")
        {
            Bitmaps = [Auto("smallest", 512), Auto("largest", 2_147_483_648)],
        },
        new("images/sparse-1t.qcow2", "qcow2", 1_099_511_627_776, "A few dirty bits on a sparse 1 TiB disk.")
        {
            Bitmaps = [Auto("default", 65_536), Auto("wide", 1_048_576)],
        },
        new(
            "images/names.qcow2",
            "qcow2",
            OddSize,
            "Names with a space, non-ASCII letters, a leading dash, and 1023 bytes.")
        {
            Bitmaps =
            [
                Auto("two words", 4_096),
                Auto("päivä-日本語", 4_096),
                Auto("-dash", 4_096),
                Auto(new string('n', 1023), 4_096),
            ],
        },
        new(
            "images/names-escaping.qcow2",
            "qcow2",
            OddSize,
            "Names that JSON output must escape, and names with separators.")
        {
            Bitmaps =
            [
                Auto("quote \" backslash \\ slash /", 4_096),
                Auto("tab \t newline \n escape \e delete \u007F", 4_096),
                Auto("emoji 😀", 4_096),
                Auto("comma,equals=colon:", 4_096),
                Auto(" spaces around ", 4_096),
            ],
        },
        new("images/bitmaps-40.qcow2", "qcow2", OddSize, "Forty bitmaps, every tenth disabled.")
        {
            Bitmaps = [.. Enumerable.Range(1, 40).Select(OneOfForty)],
        },
        new(
            "images/autoclear-off.qcow2",
            "qcow2",
            OddSize,
            "The bitmaps extension without its autoclear bit (patched): no bitmap counts."),
        new(
            "images/v2-bitmaps-extension.qcow2",
            "qcow2",
            OddSize,
            "Amended to version 2 with the bitmaps extension left behind: no bitmap counts."),
        new("images/header-104.qcow2", "qcow2", OddSize, "The short version 3 header of older QEMU (patched).")
        {
            Bitmaps = [Auto("fine", 4_096), Disabled("coarse", 65_536)],
        },
        new(
            "images/unknown-extension.qcow2",
            "qcow2",
            OddSize,
            "An unknown header extension with a padded payload (patched).")
        {
            Bitmaps = [Auto("fine", 4_096), Disabled("coarse", 65_536)],
        },
        new("images/unknown-compatible-bit.qcow2", "qcow2", OddSize, "An unknown compatible feature bit (patched).")
        {
            Bitmaps = [Auto("fine", 4_096), Disabled("coarse", 65_536)],
        },
        new("images/unknown-autoclear-bit.qcow2", "qcow2", OddSize, "An unknown autoclear feature bit (patched).")
        {
            Bitmaps = [Auto("fine", 4_096), Disabled("coarse", 65_536)],
        },
        new(
            "images/corrupt-flag.qcow2",
            "qcow2",
            OddSize,
            "The corrupt feature bit is set, the content is sound (patched).")
        {
            Bitmaps = [Auto("fine", 4_096), Disabled("coarse", 65_536)],
        },
        new("images/missing-backing.qcow2", "qcow2", 1_048_576, "The backing file does not exist.")
        {
            Bitmaps = [Auto("nightly", 65_536)],
        },
        new("images/dot-slash-backing.qcow2", "qcow2", 1_048_576, "The name of the backing file starts with ./.")
        {
            Bitmaps = [Auto("nightly", 65_536)],
        },
    ];
}
