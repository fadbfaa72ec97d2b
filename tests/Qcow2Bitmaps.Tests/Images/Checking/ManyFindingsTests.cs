using System.Text.Json;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Checking;

/// <summary>
/// An image may have a fault in each of millions of entries: the first hundred are printed, all with <c>--all</c> and in JSON.
/// </summary>
public sealed class ManyFindingsTests
{
    private const int Printed = 100;

    [Theory]
    [InlineData(1)]
    [InlineData(Printed)]
    [InlineData(Printed + 1)]
    [InlineData(5000)]
    public async Task AHundredFindingsArePrintedThenTheirNumber(int leaks)
    {
        using var folder = new TempFolder();
        string path = Leaking(folder, leaks);

        ProcessResult some = await Support.Cli.RunAsync("check", path);
        ProcessResult all = await Support.Cli.RunAsync("check", "--all", path);
        ProcessResult json = await Support.Cli.RunAsync("check", "--output", "json", path);

        string[] lines = Lines(some.Error);
        Assert.Equal(Math.Min(leaks, Printed) + (leaks > Printed ? 1 : 0), lines.Length);
        Assert.Equal(leaks <= Printed ? lines[^1] : $"{leaks - Printed} more of these; '--all' prints them", lines[^1]);
        Assert.Equal(leaks, Lines(all.Error).Length);
        Assert.Equal(lines[..Math.Min(leaks, Printed)], Lines(all.Error)[..Math.Min(leaks, Printed)]);
        Assert.Equal(lines, Lines(json.Error));
        Assert.Equal((3, 3, 3), (some.ExitCode, all.ExitCode, json.ExitCode));
        Assert.Equal(some.Output, all.Output);
        using JsonDocument document = JsonDocument.Parse(json.OutputBytes);
        JsonElement[] findings = [.. document.RootElement.GetProperty("findings").EnumerateArray()];
        Assert.Equal(Lines(all.Error), findings.Select(static finding => finding.GetProperty("message").GetString()));
        Assert.All(findings, static finding => Assert.Equal("leak", finding.GetProperty("kind").GetString()));
        if (Qemu.IsHere)
        {
            ProcessResult qemu = await Qemu.ImgAsync("check", path);
            Assert.Equal(Lines(qemu.Error), Lines(all.Error));
            Assert.Equal((qemu.ExitCode, qemu.Output), (all.ExitCode, all.Output));
        }
    }

    [Fact]
    public async Task RepairsAreCutShortToo()
    {
        using var folder = new TempFolder();
        string path = Leaking(folder, 300);

        ProcessResult result = await Support.Cli.RunAsync("check", "-r", "leaks", "--output", "json", path);

        Assert.Equal(0, result.ExitCode);
        Assert.Equal(Printed + 1, Lines(result.Error).Length);
        // Each leak is told, and that it is repaired.
        Assert.Equal("500 more of these; '--all' prints them", Lines(result.Error)[^1]);
        using JsonDocument document = JsonDocument.Parse(result.OutputBytes);
        JsonElement[] findings = [.. document.RootElement.GetProperty("findings").EnumerateArray()];
        Assert.Equal(600, findings.Length);
        Assert.Equal(300, findings.Count(static finding => finding.GetProperty("kind").GetString() == "repair"));
    }

    /// <summary>An image with clusters that are counted and not used.</summary>
    private static string Leaking(TempFolder folder, int leaks)
    {
        const int ClusterBytes = 4096;
        byte[] bytes = new TestImage(12, 64 << 20).Build();
        int used = bytes.Length / ClusterBytes;
        // The block of counts is the third cluster and counts 2048; more are counted by others.
        int perBlock = ClusterBytes / sizeof(ushort);
        int blocks = (used + leaks + 8) / perBlock;
        Array.Resize(ref bytes, (used + leaks + blocks) * ClusterBytes);
        for (int i = 1; i <= blocks; i++)
        {
            System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(
                bytes.AsSpan(ClusterBytes + (i * 8)), (ulong)(used + i - 1) * ClusterBytes);
        }

        for (int cluster = used; cluster < bytes.Length / ClusterBytes; cluster++)
        {
            int block = cluster / perBlock == 0 ? 2 : used + (cluster / perBlock) - 1;
            bytes[(block * ClusterBytes) + (cluster % perBlock * sizeof(ushort)) + 1] = 1;
        }

        return folder.Write("leaking.qcow2", bytes);
    }

    private static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
