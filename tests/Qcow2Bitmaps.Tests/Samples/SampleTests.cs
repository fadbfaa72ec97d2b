using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Documents;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Samples;

/// <summary>The programs in <c>samples/</c> do what they say, as processes of their own.</summary>
public sealed class SampleTests
{
    [Fact]
    public async Task ColdMergeKeepsCheckpointsAndDropsTheRest()
    {
        using DocumentFolder folder = await DocumentFolder.CreateAsync();
        await AddAsync(folder, "vda-3.qcow2", "left-over");
        byte[] disk = await ReadAsync(folder, "vda-3.qcow2");

        ProcessResult result = await RunAsync("ColdMerge", folder.Path, "vda-3.qcow2", "vda-2.qcow2", "chk-a");

        Assert.True(result.ExitCode == 0, result.Output + result.Error);
        Assert.Contains("valid: chk-a\nmissing: none\nunusable: none\nsurplus: left-over\n", result.Output, StringComparison.Ordinal);
        Assert.Equal(disk, await ReadAsync(folder, "vda-2.qcow2"));
        await using (var file = FileStorage.Open(Path.Combine(folder.Path, "vda-2.qcow2")))
        {
            Assert.Contains($"bytes, {(file.Length + 65535) / 65536 * 65536} needed\n", result.Output, StringComparison.Ordinal);
        }

        await using ImageChain merged = await ImageChain.OpenAsync(
            Path.Combine(folder.Path, "vda-2.qcow2"), cancellationToken: TestContext.Current.CancellationToken);
        BitmapVerdict verdict = Assert.Single(await merged.JudgeBitmapsAsync(cancellationToken: TestContext.Current.CancellationToken));
        Assert.True(verdict.IsValid, verdict.ToString());
        // Written above 2 MiB and at 700 MiB: what both overlays recorded.
        Assert.Equal(
            [2L << 20, 700L << 20],
            (
                await merged.Layers[0].RequireImage().Bitmaps.LoadAsync("chk-a", cancellationToken: TestContext.Current.CancellationToken))
                    .Extents().ToList()
                    .Select(static extent => extent.OffsetBytes));
    }

    [Fact]
    public async Task ColdMergeSaysWhichCheckpointIsLost()
    {
        using DocumentFolder folder = await DocumentFolder.CreateAsync();

        ProcessResult result = await RunAsync("ColdMerge", folder.Path, "top.qcow2", "mid.qcow2", "chk-a");

        Assert.Equal(2, result.ExitCode);
        Assert.Contains("unusable: chk-a (gap)\n", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ColdMergeRefusesWhatIsNotRightBelow()
    {
        using DocumentFolder folder = await DocumentFolder.CreateAsync();
        byte[] before = await File.ReadAllBytesAsync(Path.Combine(folder.Path, "vda-1.qcow2"), TestContext.Current.CancellationToken);

        ProcessResult result = await RunAsync("ColdMerge", folder.Path, "vda-3.qcow2", "vda-1.qcow2", "chk-a");

        Assert.Equal((1, "vda-1.qcow2 is not right below vda-3.qcow2\n"), (result.ExitCode, result.Error));
        Assert.Equal(before, await File.ReadAllBytesAsync(Path.Combine(folder.Path, "vda-1.qcow2"), TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task NightlyBackupTakesAllThenWhatChanged()
    {
        using DocumentFolder folder = await DocumentFolder.CreateAsync();
        Directory.CreateDirectory(Path.Combine(folder.Path, "backups"));

        ProcessResult first = await RunAsync("NightlyBackup", folder.Path, "backups", "mon", "vda-3.qcow2", "vdb.qcow2");
        Assert.True(first.ExitCode == 0, first.Output + first.Error);
        Assert.Contains("vda-3-mon.qcow2: full, ", first.Output, StringComparison.Ordinal);
        Assert.Contains("vdb-mon.qcow2: full, ", first.Output, StringComparison.Ordinal);
        await using (ImageChain chain = await ImageChain.OpenAsync(
            Path.Combine(folder.Path, "vdb.qcow2"), new ChainOpenOptions { WritableLayers = [0] }, TestContext.Current.CancellationToken))
        await using (Disk writer = await chain.OpenWriterAsync(TestContext.Current.CancellationToken))
        {
            await writer.WriteAsync(1 << 20, new byte[4096], TestContext.Current.CancellationToken);
            await writer.WriteAsync(8 << 20, Enumerable.Repeat((byte)1, 4096).ToArray(), TestContext.Current.CancellationToken);
        }

        ProcessResult second = await RunAsync("NightlyBackup", folder.Path, "backups", "tue", "vda-3.qcow2", "vdb.qcow2");
        Assert.True(second.ExitCode == 0, second.Output + second.Error);
        Assert.Contains("vda-3-tue.qcow2: since mon, 0 bytes, verified\n", second.Output, StringComparison.Ordinal);
        Assert.Contains("vdb-tue.qcow2: since mon, 131072 bytes, verified\n", second.Output, StringComparison.Ordinal);

        await Qcow2Image.CreateAsync(
            Path.Combine(folder.Path, "vdc.qcow2"), new Qcow2CreateOptions { SizeBytes = 1 << 20 }, TestContext.Current.CancellationToken);
        ProcessResult third = await RunAsync("NightlyBackup", folder.Path, "backups", "wed", "vda-3.qcow2", "vdb.qcow2", "vdc.qcow2");
        Assert.True(third.ExitCode == 0, third.Output + third.Error);
        Assert.Contains("vdb-wed.qcow2: since tue, 0 bytes, verified\n", third.Output, StringComparison.Ordinal);
        Assert.Contains("vdc-wed.qcow2: full, ", third.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task EvidenceTellsOfADamagedImageAndLeavesItAlone()
    {
        using DocumentFolder folder = await DocumentFolder.CreateAsync();
        string path = Path.Combine(folder.Path, "damaged.qcow2");
        byte[] bytes = await File.ReadAllBytesAsync(path, TestContext.Current.CancellationToken);

        ProcessResult result = await RunAsync("Evidence", folder.Path, "damaged.qcow2");

        Assert.True(result.ExitCode == 0, result.Output + result.Error);
        Assert.Contains("fault bitmap-type:", result.Output, StringComparison.Ordinal);
        Assert.Contains("  cannot be read: bitmap-type\n", result.Output, StringComparison.Ordinal);
        Assert.Contains("Inconsistent, granularity", result.Output, StringComparison.Ordinal);
        Assert.Contains("Recording, granularity", result.Output, StringComparison.Ordinal);
        Assert.Contains("  dirty ", result.Output, StringComparison.Ordinal);
        Assert.Equal(bytes, await File.ReadAllBytesAsync(path, TestContext.Current.CancellationToken));
    }

    private static Task<ProcessResult> RunAsync(string sample, string folder, params string[] arguments) =>
        Support.Qemu.RunAsync("dotnet", folder, [Path.Combine(AppContext.BaseDirectory, sample + ".dll"), .. arguments]);

    private static async Task AddAsync(DocumentFolder folder, string image, string bitmap)
    {
        await using Qcow2Image opened = await Qcow2Image.OpenAsync(Path.Combine(folder.Path, image), FileAccess.ReadWrite);
        await opened.Bitmaps.EditAsync(edit => edit.Add(bitmap));
    }

    /// <summary>The bytes of a disk where the prepared images have some.</summary>
    private static async Task<byte[]> ReadAsync(DocumentFolder folder, string image)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(Path.Combine(folder.Path, image));
        byte[] bytes = new byte[5 << 20];
        await chain.ReadAsync(0, bytes.AsMemory(0, 4 << 20));
        await chain.ReadAsync(700L << 20, bytes.AsMemory(4 << 20));
        return bytes;
    }
}
