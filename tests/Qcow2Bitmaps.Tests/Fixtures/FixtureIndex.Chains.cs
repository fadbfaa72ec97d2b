namespace Qcow2Bitmaps.Tests.Fixtures;

public static partial class FixtureIndex
{
    /// <summary>Gets the backing chains.</summary>
    public static IReadOnlyList<FixtureChain> Chains { get; } =
    [
        new(
            "valid-2",
            [
                new("chains/valid-2/top.qcow2", "qcow2", OddSize, "Top of valid-2.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
                new("chains/valid-2/base.qcow2", "qcow2", OddSize, "Base of valid-2.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
            ],
            "The bitmap is in both layers; clusters of 64 KiB.")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["a"] = "valid",
            },
        },
        new(
            "valid-3",
            [
                new("chains/valid-3/top.qcow2", "qcow2", OddSize, "Top of valid-3.")
                {
                    Bitmaps = [Auto("a", 4_096)],
                },
                new("chains/valid-3/mid.qcow2", "qcow2", OddSize, "Middle layer of valid-3.")
                {
                    Bitmaps = [Auto("a", 4_096)],
                },
                new("chains/valid-3/base.qcow2", "qcow2", OddSize, "Base of valid-3.")
                {
                    Bitmaps = [Auto("a", 4_096)],
                },
            ],
            "The bitmap is in all three layers.")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["a"] = "valid",
            },
        },
        new(
            "valid-5",
            [
                new("chains/valid-5/top.qcow2", "qcow2", OddSize, "Top of valid-5.")
                {
                    Bitmaps = [Auto("a", 4_096), Auto("b", 4_096), Auto("c", 65_536)],
                },
                new("chains/valid-5/mid3.qcow2", "qcow2", OddSize, "Third layer over the base of valid-5.")
                {
                    Bitmaps = [Auto("a", 4_096), Auto("b", 4_096)],
                },
                new("chains/valid-5/mid2.qcow2", "qcow2", OddSize, "Second layer over the base of valid-5.")
                {
                    Bitmaps = [Auto("a", 4_096), Auto("b", 4_096)],
                },
                new("chains/valid-5/mid1.qcow2", "qcow2", OddSize, "Layer over the base of valid-5.")
                {
                    Bitmaps = [Auto("a", 4_096)],
                },
                new("chains/valid-5/base.qcow2", "qcow2", OddSize, "Base of valid-5.")
                {
                    Bitmaps = [Auto("a", 4_096)],
                },
            ],
            "Bitmaps born in the base, in the middle and in the top.")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["a"] = "valid",
                ["b"] = "valid",
                ["c"] = "valid",
            },
        },
        new(
            "gap-3",
            [
                new("chains/gap-3/top.qcow2", "qcow2", OddSize, "Top of gap-3.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
                new("chains/gap-3/mid.qcow2", "qcow2", OddSize, "Middle layer of gap-3."),
                new("chains/gap-3/base.qcow2", "qcow2", OddSize, "Base of gap-3.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
            ],
            "The middle layer lacks the bitmap.")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["a"] = "gap",
            },
        },
        new(
            "missing-in-top-2",
            [
                new("chains/missing-in-top-2/top.qcow2", "qcow2", OddSize, "Top of missing-in-top-2."),
                new("chains/missing-in-top-2/base.qcow2", "qcow2", OddSize, "Base of missing-in-top-2.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
            ],
            "Only the base has the bitmap.")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["a"] = "missing-in-top",
            },
        },
        new(
            "in-use-base-2",
            [
                new("chains/in-use-base-2/top.qcow2", "qcow2", OddSize, "Top of in-use-base-2.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
                new("chains/in-use-base-2/base.qcow2", "qcow2", OddSize, "Base of in-use-base-2.")
                {
                    Bitmaps = [InUse("a", 65_536)],
                },
            ],
            "The base's bitmap was left in-use.")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["a"] = "inconsistent",
            },
        },
        new(
            "in-use-top-2",
            [
                new("chains/in-use-top-2/top.qcow2", "qcow2", OddSize, "Top of in-use-top-2.")
                {
                    Bitmaps = [InUse("a", 65_536)],
                },
                new("chains/in-use-top-2/base.qcow2", "qcow2", OddSize, "Base of in-use-top-2.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
            ],
            "The top's bitmap was left in-use.")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["a"] = "inconsistent",
            },
        },
        new(
            "disabled-mid-3",
            [
                new("chains/disabled-mid-3/top.qcow2", "qcow2", OddSize, "Top of disabled-mid-3.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
                new("chains/disabled-mid-3/mid.qcow2", "qcow2", OddSize, "Middle layer of disabled-mid-3.")
                {
                    Bitmaps = [Disabled("a", 65_536)],
                },
                new("chains/disabled-mid-3/base.qcow2", "qcow2", OddSize, "Base of disabled-mid-3.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
            ],
            "The middle layer's bitmap is disabled.")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["a"] = "not-recording",
            },
        },
        new(
            "mixed-4",
            [
                new("chains/mixed-4/top.qcow2", "qcow2", OddSize, "Top of mixed-4.")
                {
                    Bitmaps =
                    [
                        Auto("valid", 65_536),
                        Auto("gap", 65_536),
                        Auto("in-use-middle", 65_536),
                        Auto("disabled-base", 65_536),
                        Auto("gap-and-in-use", 65_536),
                        Disabled("disabled-top", 65_536),
                        Auto("in-use-and-disabled", 65_536),
                        Auto("top-only", 65_536),
                    ],
                },
                new("chains/mixed-4/mid2.qcow2", "qcow2", OddSize, "Second layer over the base of mixed-4.")
                {
                    Bitmaps =
                    [
                        Auto("valid", 65_536),
                        Auto("gap", 65_536),
                        Auto("missing-in-top", 65_536),
                        Auto("in-use-middle", 65_536),
                        Auto("disabled-base", 65_536),
                        Auto("disabled-top", 65_536),
                        InUseDisabled("in-use-and-disabled", 65_536),
                    ],
                },
                new("chains/mixed-4/mid1.qcow2", "qcow2", OddSize, "Layer over the base of mixed-4.")
                {
                    Bitmaps =
                    [
                        Auto("valid", 65_536),
                        Auto("missing-in-top", 65_536),
                        InUse("in-use-middle", 65_536),
                        Auto("disabled-base", 65_536),
                        Auto("disabled-top", 65_536),
                        Auto("in-use-and-disabled", 65_536),
                    ],
                },
                new("chains/mixed-4/base.qcow2", "qcow2", OddSize, "Base of mixed-4.")
                {
                    Bitmaps =
                    [
                        Auto("valid", 65_536),
                        Auto("gap", 65_536),
                        Auto("missing-in-top", 65_536),
                        Auto("in-use-middle", 65_536),
                        Disabled("disabled-base", 65_536),
                        InUse("gap-and-in-use", 65_536),
                        Auto("disabled-top", 65_536),
                        Auto("in-use-and-disabled", 65_536),
                    ],
                },
            ],
            "A bitmap for each verdict, and combinations of reasons.")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["valid"] = "valid",
                ["gap"] = "gap",
                ["in-use-middle"] = "inconsistent",
                ["disabled-base"] = "not-recording",
                ["gap-and-in-use"] = "gap",
                ["disabled-top"] = "not-recording",
                ["in-use-and-disabled"] = "inconsistent",
                ["top-only"] = "valid",
                ["missing-in-top"] = "missing-in-top",
            },
        },
        new(
            "granularities-3",
            [
                new("chains/granularities-3/top.qcow2", "qcow2", OddSize, "Top of granularities-3.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
                new("chains/granularities-3/mid.qcow2", "qcow2", OddSize, "Middle layer of granularities-3.")
                {
                    Bitmaps = [Auto("a", 4_096)],
                },
                new("chains/granularities-3/base.qcow2", "qcow2", OddSize, "Base of granularities-3.")
                {
                    Bitmaps = [Auto("a", 1_048_576)],
                },
            ],
            "Another granularity and cluster size in each layer.")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["a"] = "valid",
            },
        },
        new(
            "grown-2",
            [
                new("chains/grown-2/top.qcow2", "qcow2", 20_972_032, "Top of grown-2.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
                new("chains/grown-2/base.qcow2", "qcow2", OddSize, "Base of grown-2.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
            ],
            "The overlay is larger than its base.")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["a"] = "valid",
            },
        },
        new(
            "shrunk-2",
            [
                new("chains/shrunk-2/top.qcow2", "qcow2", 5_243_392, "Top of shrunk-2.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
                new("chains/shrunk-2/base.qcow2", "qcow2", OddSize, "Base of shrunk-2.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
            ],
            "The overlay is smaller than its base.")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["a"] = "valid",
            },
        },
        new(
            "raw-base-3",
            [
                new("chains/raw-base-3/top.qcow2", "qcow2", SmallSize, "Top of raw-base-3.")
                {
                    Bitmaps = [Auto("a", 4_096)],
                },
                new("chains/raw-base-3/mid.qcow2", "qcow2", SmallSize, "Middle layer of raw-base-3.")
                {
                    Bitmaps = [Auto("a", 4_096)],
                },
                new("chains/raw-base-3/base.raw", "raw", SmallSize, "Base of raw-base-3."),
            ],
            "Two overlays over a raw file.")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["a"] = "valid",
            },
        },
        new(
            "no-format-2",
            [
                new("chains/no-format-2/top.qcow2", "qcow2", OddSize, "Top of no-format-2.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
                new("chains/no-format-2/base.qcow2", "qcow2", OddSize, "Base of no-format-2.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
            ],
            "The overlay does not tell the format of its base (patched).")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["a"] = "valid",
            },
        },
        new(
            "v2-base-2",
            [
                new("chains/v2-base-2/top.qcow2", "qcow2", OddSize, "Top of v2-base-2.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
                new("chains/v2-base-2/base.qcow2", "qcow2", OddSize, "Base of v2-base-2."),
            ],
            "The base is a version 2 image, which cannot hold bitmaps.")
        {
            Verdicts = new Dictionary<string, string>
            {
                ["a"] = "valid",
            },
        },
        new(
            "no-bitmaps-2",
            [
                new("chains/no-bitmaps-2/top.qcow2", "qcow2", OddSize, "Top of no-bitmaps-2."),
                new("chains/no-bitmaps-2/base.qcow2", "qcow2", OddSize, "Base of no-bitmaps-2."),
            ],
            "No layer has a bitmap."),
        new(
            "missing-base-2",
            [
                new("chains/missing-base-2/top.qcow2", "qcow2", OddSize, "Top of missing-base-2.")
                {
                    Bitmaps = [Auto("a", 65_536)],
                },
            ],
            "The base does not exist, so there are no verdicts."),
    ];
}
