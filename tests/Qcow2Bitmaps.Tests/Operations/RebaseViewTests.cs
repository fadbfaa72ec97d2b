using System.Globalization;
using FsCheck.Fluent;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// The guest sees the same over another backing file, or over the first one: sizes end anywhere, images of both versions,
/// with and without one before and afterwards.
/// </summary>
public sealed class RebaseViewTests
{
    private const int Cases = 30;
    private const int SectorBytes = 512;
    private const int MaxSectors = 1200;

    private static readonly string[] s_topOptions =
    [
        "compat=0.10", "compat=0.10,cluster_size=4096", "cluster_size=512", "cluster_size=4096", "cluster_size=65536",
        "cluster_size=16384,extended_l2=on", "cluster_size=65536,extended_l2=on",
    ];

    [Fact]
    public void StaysAsItWas()
    {
        Qemu.Require();
        Properties.ForAll(
            Gen.Choose(0, int.MaxValue), Cases * Properties.Factor,
            static seed => RunAsync(new SplitMix((ulong)seed)).GetAwaiter().GetResult());
    }

    private static async Task RunAsync(SplitMix random)
    {
        using var folder = TempFolder.InMemory();
        string top = folder.File("top.qcow2");
        string options = random.Pick(s_topOptions);
        string size = Sectors(random);
        string? old = random.Below(2) == 0 ? null : await BackingAsync(folder.File("old"), random);
        string? other = random.Below(5) == 0 ? null : await BackingAsync(folder.File("other"), random);
        await Qemu.ImgOkAsync(
            old is null
                ? ["create", "-q", "-f", "qcow2", "-o", options, top, size]
                : ["create", "-q", "-f", "qcow2", "-o", options, "-b", old, "-F", FormatOf(old), top, size]);
        await WriteAsync(top, "qcow2", size, random);
        byte[] before = await ViewAsync(folder, top);

        ProcessResult result = await Support.Cli.RunAsync(
            other is null ? ["chain", "rebase", "-b", "", top] : ["chain", "rebase", "-b", other, "-F", FormatOf(other), top]);

        string what = $"{options}, {size} bytes, {old} to {other}: {result.Error}";
        Assert.True(result.ExitCode == 0, what);
        byte[] after = await ViewAsync(folder, top);
        int same = before.AsSpan().CommonPrefixLength(after);
        Assert.True(same == before.Length, $"{what}: byte {same} changed");
        await Qemu.ImgOkAsync("check", "-q", top);
    }

    private static async Task<string> BackingAsync(string name, SplitMix random)
    {
        string format = random.Below(3) == 0 ? "raw" : "qcow2";
        string path = $"{name}.{format}";
        string size = Sectors(random);
        await Qemu.ImgOkAsync("create", "-q", "-f", format, path, size);
        await WriteAsync(path, format, size, random);
        return path;
    }

    private static async Task WriteAsync(string path, string format, string size, SplitMix random)
    {
        int sectors = int.Parse(size, CultureInfo.InvariantCulture) / SectorBytes;
        for (int i = random.Below(5); i > 0; i--)
        {
            int start = random.Below(sectors);
            int length = 1 + random.Below(sectors - start);
            string command = random.Below(4) switch
            {
                0 => "write -z",
                1 => "write -z -u",
                2 => "discard",
                _ => string.Create(CultureInfo.InvariantCulture, $"write -P {1 + random.Below(254)}"),
            };
            await Qemu.RunAsync(
                "qemu-io", null, "-f", format, "-d", "unmap", "-c",
                string.Create(CultureInfo.InvariantCulture, $"{command} {start * SectorBytes} {length * SectorBytes}"), path);
        }
    }

    private static async Task<byte[]> ViewAsync(TempFolder folder, string top)
    {
        await Qemu.ImgOkAsync("convert", "-f", "qcow2", "-O", "raw", top, folder.File("view"));
        return await File.ReadAllBytesAsync(folder.File("view"));
    }

    private static string Sectors(SplitMix random) => ((1 + random.Below(MaxSectors)) * SectorBytes).ToString(CultureInfo.InvariantCulture);

    private static string FormatOf(string path) => Path.GetExtension(path)[1..];
}
