using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Images with fields at boundary values: we take those that qemu-img takes, and show the same of them, byte for byte.</summary>
public sealed class QemuAcceptanceTests
{
    private const int MutationsPerBase = 30;

    public static TheoryData<string> Bases => new(
        "built-9", "built-12", "built-16", "built-snapshots", "snapshots", "v2-snapshot", "in-use-and-good", "luks", "extended-l2",
        "missing-backing",
        "names", "v2-bitmaps-extension", "data-file-raw", "aes", "all-ones-entry", "header-104");

    [Theory]
    [MemberData(nameof(Bases))]
    public async Task WeTakeWhatQemuTakesAndShowTheSame(string baseName)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        CancellationToken token = TestContext.Current.CancellationToken;
        byte[] bytes = Base(baseName);
        IReadOnlyList<MetadataField> fields = await MetadataFields.FindAsync(bytes, token);
        ulong firstSeed = baseName.Aggregate(0UL, static (seed, c) => unchecked((seed * 31) + c));
        var differences = new List<string>();
        for (int i = 0; i < MutationsPerBase; i++)
        {
            Mutation mutation = Mutation.Of(bytes, fields, unchecked(firstSeed + ((ulong)i << 32)));
            string path = folder.Write("mutated.qcow2", mutation.Bytes);
            ProcessResult qemu = await Qemu.ImgAsync("info", "-f", "qcow2", "--output=json", path);
            Probe ours = await Probe.RunAsync(FileStorage.Open(path), Strictness.AsQemu, token);
            if (await DifferenceAsync(path, mutation, qemu, ours) is { } difference)
            {
                differences.Add($"{i}: {mutation}: {difference}");
            }
        }

        Assert.True(differences.Count == 0, string.Join("\n", differences));
    }

    [Fact]
    public async Task NamesOfAnyBytesAreShownAsQemuShowsThem()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        var random = new SplitMix(5);
        byte[] interesting =
        [
            (byte)'a', (byte)'"', (byte)'\\', (byte)'\n', 0x1b, 0x7f, 0x80, 0xbf, 0xc0, 0xc1, 0xc3, 0xe0, 0xe2, 0xed, 0xef, 0xa0, 0xb7,
            0xbe,
            0xf0, 0xf4, 0xf5, 0xf8, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,
        ];
        var image = new TestImage();
        for (int i = 0; i < 150; i++)
        {
            // The number keeps names apart.
            byte[] name = [
                .. System.Text.Encoding.ASCII.GetBytes($"{i} "),
                .. Enumerable.Range(0, 12).Select(_ => random.Pick(interesting)),
            ];
            image.WithBitmap(name, 20, BitmapFlags.Auto, null);
        }

        string path = folder.Write("names.qcow2", image.Build());
        ProcessResult qemu = await Qemu.ImgAsync("info", "--output=json", path);
        ProcessResult ours = await Support.Cli.RunAsync("info", "--output=json", path);
        Assert.Equal(0, qemu.ExitCode);
        Assert.Equal(qemu.Output, ours.Output);
        Assert.Equal((await Qemu.ImgAsync("info", path)).OutputBytes, (await Support.Cli.RunAsync("info", path)).OutputBytes);
    }

    private static async Task<string?> DifferenceAsync(string path, Mutation mutation, ProcessResult qemu, Probe ours)
    {
        switch (qemu.ExitCode == 0, ours.IsAccepted)
        {
            case (true, false):
                return KnownDifferences.WhyRefused(ours) is null ? $"we refuse: {(ours.OpenError ?? ours.ReadErrors[0]).Message}" : null;
            case (false, true):
                return KnownDifferences.WhyTaken(mutation, qemu.Error) is null ? $"QEMU refuses with {qemu.ExitCode}: {qemu.Error}" : null;
            case (false, false):
                return null;
            default:
                ProcessResult info = await Support.Cli.RunAsync("info", "-f", "qcow2", "--output=json", path);
                return info.OutputBytes.AsSpan().SequenceEqual(qemu.OutputBytes)
                    ? null
                    : FirstDifference(qemu.Output, info.Output + info.Error);
        }
    }

    private static string FirstDifference(string qemu, string ours)
    {
        string[] theirLines = qemu.Split('\n');
        string[] ourLines = ours.Split('\n');
        int line = Enumerable.Range(0, Math.Max(theirLines.Length, ourLines.Length))
            .First(i => theirLines.ElementAtOrDefault(i) != ourLines.ElementAtOrDefault(i));
        return $"line {line}: QEMU shows {theirLines.ElementAtOrDefault(line)}, we show {ourLines.ElementAtOrDefault(line)}";
    }

    internal static byte[] Base(string name) => name switch
    {
        "built-9" => Built(9),
        "built-12" => Built(12),
        "built-16" => Built(16),
        "built-snapshots" =>
            Patched.Usual().WithSnapshots(Patched.Snapshot("1", "first"), Patched.Snapshot("2", "second", extraBytes: 16)).Bytes,
        _ => File.ReadAllBytes(FixtureIndex.Images.First(image => Path.GetFileNameWithoutExtension(image.RelativePath) == name).Path),
    };

    private static byte[] Built(int clusterBits) => new TestImage(clusterBits, (3 << 20) + 512)
        .WithBitmap("a", 12, bits: [1, 2, 3])
            .WithBitmap("b", 9, BitmapFlags.None, [.. Enumerable.Repeat((byte)7, 700)])
            .WithBitmap("c", 16, BitmapFlags.InUse)
            .Build();
}
