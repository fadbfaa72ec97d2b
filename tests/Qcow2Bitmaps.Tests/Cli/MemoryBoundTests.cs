using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Images.Creation;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>
/// Verbs that go through whole disks do so in a fixed amount of memory: the runtime gives the tool no more,
/// and ends it where it asks for more.
/// </summary>
public sealed class MemoryBoundTests
{
    private const string HeapLimit = "DOTNET_GCHeapHardLimit=0x4000000";

    private static readonly string s_tool = Path.Combine(AppContext.BaseDirectory, "Qcow2Bitmaps.Cli.dll");

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Of disks of 1 TiB, one with a place for all of it, one that is another thing every other cluster; and of 8 TiB.</summary>
    [Theory]
    [InlineData("map", "whole")]
    [InlineData("map --output=json", "pieces")]
    [InlineData("map", "pieces")]
    [InlineData("compare", "whole pieces")]
    [InlineData("compare -s", "pieces pieces")]
    [InlineData("convert -O qcow2", "pieces out")]
    [InlineData("convert -O raw", "whole out")]
    [InlineData("convert -O qcow2 -o preallocation=metadata,cluster_size=2M", "empty out")]
    [InlineData("resize --preallocation=metadata", "small 1T")]
    [InlineData("check", "pieces")]
    public async Task SixtyFourMebibytesAreEnough(string verb, string files)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "The limit is set with env");
        using var folder = TempFolder.InMemory();
        await MakeAsync(folder, files);
        string[] tool = [HeapLimit, "dotnet", s_tool, .. verb.Split(' '), .. files.Split(' ')];
        ProcessResult result = await Qemu.RunAsync("sh", folder.Path, ["-c", "exec env \"$@\" > output", "sh", .. tool]);
        Assert.True(result.ExitCode == 0, $"{result.ExitCode}: {result.Error}");
        if (verb == "map --output=json")
        {
            // All of it went through, more than the memory holds at once.
            Assert.InRange(SparseFiles.LengthOf(folder.File("output")), 20 << 20, long.MaxValue);
        }
    }

    private static async Task MakeAsync(TempFolder folder, string files)
    {
        var options = new Qcow2CreateOptions { SizeBytes = 1L << 40, ClusterSizeBytes = 2 << 20, Preallocation = Preallocation.Metadata };
        foreach (string name in files.Split(' ').Distinct())
        {
            switch (name)
            {
                case "whole":
                    await Qcow2Image.CreateAsync(folder.File(name), options, Token);
                    break;
                case "pieces":
                    await Qcow2Image.CreateAsync(folder.File(name), options, Token);
                    await BreakAsync(folder.File(name));
                    break;
                case "empty":
                    await Qcow2Image.CreateAsync(
                        folder.File(name), options with { SizeBytes = 8L << 40, Preallocation = Preallocation.Off }, Token);
                    break;
                case "small":
                    await Qcow2Image.CreateAsync(
                        folder.File(name), options with { SizeBytes = 1 << 20, Preallocation = Preallocation.Off }, Token);
                    break;
                default:
                    break;
            }
        }
    }

    /// <summary>Lets every other cluster be one of zeros.</summary>
    private static async Task BreakAsync(string path)
    {
        await using FileStream file = new(path, FileMode.Open, FileAccess.ReadWrite);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        var l1 = new byte[image.Header.L1Size * sizeof(ulong)];
        file.Position = (long)image.Header.L1TableOffset;
        await file.ReadExactlyAsync(l1, Token);
        var table = new byte[image.ClusterSizeBytes];
        for (int i = 0; i < l1.Length; i += sizeof(ulong))
        {
            long offset = (long)new L1Entry(BinaryPrimitives.ReadUInt64BigEndian(l1.AsSpan(i))).L2TableOffset;
            file.Position = offset;
            await file.ReadExactlyAsync(table, Token);
            for (int at = 7; at < table.Length; at += 2 * sizeof(ulong))
            {
                table[at] |= 1;
            }

            file.Position = offset;
            await file.WriteAsync(table, Token);
        }
    }
}
