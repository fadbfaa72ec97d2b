using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Guest;

/// <summary>Random writes through us and through qemu-io: the same bytes, the same bits, and nothing for a check to find.</summary>
public sealed class GuestWriteTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void SequencesEndAsWithQemu()
    {
        Qemu.Require();
        Properties.ForAll(WriteCase.Generator, 60 * Properties.Factor, static write => RunAsync(write).GetAwaiter().GetResult());
    }

    private static async Task RunAsync(WriteCase write)
    {
        using var folder = TempFolder.InMemory();
        string ours = await WriteImage.CreateAsync(folder, write, "ours");
        string theirs = await WriteImage.CreateAsync(folder, write, "theirs");
        string snapshotBefore = await SnapshotHashAsync(write, ours, folder);
        byte[] model = await ReadRawAsync(ours, folder);

        await WriteOursAsync(write, ours, model);
        await Qemu.IoOkAsync(theirs, [.. write.Steps.SelectMany(step => WriteImage.Commands(step, write, isCompressed: false))]);

        ProcessResult check = await Qemu.ImgAsync("check", ours);
        Assert.True(check.ExitCode == 0, check.Output + check.Error);
        byte[] read = await ReadRawAsync(ours, folder);
        Assert.Equal(-1, FirstDifference(model, read));
        Assert.Equal(-1, FirstDifference(await ReadRawAsync(theirs, folder), read));
        Assert.Equal(snapshotBefore, await SnapshotHashAsync(write, ours, folder));
        await AssertSameBitmapsAsync(theirs, ours);
        if (write.DataFile == "raw")
        {
            // QEMU makes it as long as whole clusters.
            Assert.Equal(-1, FirstDifference(model, (await File.ReadAllBytesAsync(folder.File("ours.data"), Token))[..model.Length]));
        }
    }

    private static async Task WriteOursAsync(WriteCase write, string path, byte[] model)
    {
        int at = 0;
        while (at < write.Steps.Count)
        {
            await using ImageChain chain = await ImageChain.OpenAsync(path, new ChainOpenOptions { WritableLayers = [0] }, Token);
            await using Disk writer = await chain.OpenWriterAsync(Token);
            for (bool goesOn = true; goesOn && at < write.Steps.Count; at++)
            {
                goesOn = write.Steps[at].Action != WriteAction.Reopen;
                await WriteImage.TakeAsync(write.Steps[at], write, writer, model);
            }

            var through = new byte[model.Length];
            Assert.Equal(through.Length, await writer.ReadAsync(0, through, Token));
            Assert.Equal(-1, FirstDifference(model, through));
            Assert.Equal(through.Length, await chain.ReadAsync(0, through, Token));
            Assert.Equal(-1, FirstDifference(model, through));
        }
    }

    private static async Task AssertSameBitmapsAsync(string theirs, string ours)
    {
        await using Qcow2Image expected = await Qcow2Image.OpenAsync(theirs, cancellationToken: Token);
        await using Qcow2Image actual = await Qcow2Image.OpenAsync(ours, cancellationToken: Token);
        Assert.Equal(expected.Bitmaps.Select(static b => (b.Name, b.State)), actual.Bitmaps.Select(static b => (b.Name, b.State)));
        foreach (BitmapInfo bitmap in expected.Bitmaps)
        {
            DirtyBitmap bits = await expected.Bitmaps.LoadAsync(bitmap.Name, cancellationToken: Token);
            DirtyBitmap own = await actual.Bitmaps.LoadAsync(bitmap.Name, cancellationToken: Token);
            Assert.Equal([.. bits.Extents()], [.. own.Extents()]);
        }
    }

    private static async Task<string> SnapshotHashAsync(WriteCase write, string path, TempFolder folder)
    {
        if (!write.HasSnapshot)
        {
            return "";
        }

        string raw = folder.File("snapshot.raw");
        await Qemu.ImgOkAsync("convert", "-l", "s", "-O", "raw", path, raw);
        return Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(await File.ReadAllBytesAsync(raw, Token)));
    }

    private static async Task<byte[]> ReadRawAsync(string path, TempFolder folder)
    {
        string raw = folder.File("disk.raw");
        await Qemu.ImgOkAsync("convert", "-f", "qcow2", "-O", "raw", path, raw);
        return await File.ReadAllBytesAsync(raw, Token);
    }

    private static int FirstDifference(byte[] expected, byte[] actual)
    {
        int common = expected.AsSpan().CommonPrefixLength(actual);
        return common == expected.Length && common == actual.Length ? -1 : common;
    }
}
