using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Tests.Cli;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// A commit that makes a base with a raw data file grow is stopped anywhere: the guest sees the same, and
/// what the file has behind the disk stays.
/// </summary>
public sealed class RawDataFileCommitCrashTests
{
    private const int OldBytes = (100 << 10) + 512;
    private const int NewBytes = 170 << 10;
    private const int FileBytes = 300 << 10;
    private const string Base = "base";
    private const string Top = "top";

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("cluster_size=64k")]
    [InlineData("cluster_size=4k")]
    [InlineData("cluster_size=16k,extended_l2=on")]
    public async Task StoppedAnywhereNothingIsLost(string options)
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        byte[] bytes = ForeignRawDisk.RandomBytes(FileBytes);
        bytes.AsSpan(OldBytes, NewBytes - OldBytes).Clear();
        string data = folder.Write("data", bytes);
        await Support.Cli.OkAsync(
            "create", "-q", "-f", "qcow2", "-o", $"{options},data_file={data},data_file_raw=on,keep_data_file=on", folder.File(Base),
            $"{OldBytes}");
        await Support.Cli.OkAsync("bitmap", "--add", "-g", "512", folder.File(Base), "b");
        await Support.Cli.OkAsync("chain", "snapshot", folder.File(Base), folder.File(Top));
        await Qemu.ImgOkAsync("resize", "-q", folder.File(Top), $"{NewBytes}");
        await Qemu.IoOkAsync(folder.File(Top), "write -P 7 10k 5k", "write -P 8 99k 4k", "write -P 9 160k 3k");
        var start = new CrashChain(new Dictionary<string, byte[]>(StringComparer.Ordinal)
        {
            [Top] = await File.ReadAllBytesAsync(folder.File(Top), Token),
            [Base] = await File.ReadAllBytesAsync(folder.File(Base), Token),
            [data] = bytes,
        });
        byte[] before = await ReadAsync(start, Top);
        Assert.Equal(NewBytes, before.Length);
        await CommitAsync(start);
        await RequireAsync(start, Base, "not stopped");
        int stops = 0;
        foreach ((Dictionary<string, byte[]> content, string description) in start.Stops(seed: 1, samples: 4))
        {
            var stopped = new CrashChain(content);
            await RequireAsync(stopped, Top, description);
            if (++stops % 5 == 0)
            {
                await CommitAsync(stopped);
                await RequireAsync(stopped, Top, description + ", run again");
                await RequireAsync(stopped, Base, description + ", run again");
            }
        }

        Assert.True(stops > 20, $"{stops} stops");

        async Task RequireAsync(CrashChain images, string name, string context)
        {
            byte[] now = await ReadAsync(images, name);
            Assert.True(before.AsSpan().SequenceEqual(now), $"{context}: '{name}' reads otherwise");
            byte[] file = images.Content[data];
            Assert.True(
                file.Length == FileBytes && file.AsSpan(NewBytes).SequenceEqual(bytes.AsSpan(NewBytes)),
                $"{context}: bytes behind the disk are lost");
        }
    }

    private static async Task<byte[]> ReadAsync(CrashChain images, string name)
    {
        await using ImageChain chain = await images.OpenAsync(name);
        var disk = new byte[chain.SizeBytes];
        Assert.Equal(disk.Length, await chain.ReadAsync(0, disk, Token));
        return disk;
    }

    private static async Task CommitAsync(CrashChain images)
    {
        await using ImageChain chain = await images.OpenForCommitAsync(Top, 0, 1);
        await new ChainCommit(chain, 0, 1).RunAsync(cancellationToken: Token);
    }
}
