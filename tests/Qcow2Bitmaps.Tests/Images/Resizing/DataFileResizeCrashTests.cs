using Qcow2Bitmaps.Images.Resizing;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Cli;
using Qcow2Bitmaps.Tests.Operations;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Resizing;

/// <summary>A resize of an image with an external data file stops at any moment: the disk is as before or as after.</summary>
/// <remarks>Of what neither file was asked to flush, any part is there.</remarks>
public sealed class DataFileResizeCrashTests
{
    private const string Image = "a.qcow2";
    private const string Data = "d";

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("", Preallocation.Off)]
    [InlineData("cluster_size=4k,", Preallocation.Off)]
    [InlineData("cluster_size=4k,", Preallocation.Metadata)]
    [InlineData("cluster_size=4k,data_file_raw=on,", Preallocation.Full)]
    [InlineData("cluster_size=16k,extended_l2=on,", Preallocation.Off)]
    [InlineData("cluster_size=512,data_file_raw=on,", Preallocation.Off)]
    public async Task EachStopLeavesTheDiskAsBeforeOrAsAfter(string options, Preallocation preallocation)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = folder.File(Image);
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", $"{options}data_file={folder.File(Data)}", path, "200k");
        await Qemu.ImgOkAsync("bitmap", "--add", "-g", "512", path, "fine");
        await Qemu.IoOkAsync(path, "write -P 1 0 10k", "write -P 3 100k 7k", "write -P 4 190k 10k");
        var files = new Dictionary<string, byte[]>(StringComparer.Ordinal)
        {
            [Image] = await File.ReadAllBytesAsync(path, Token),
            [Data] = await File.ReadAllBytesAsync(folder.File(Data), Token),
        };
        foreach (long size in new long[] { 201 << 10, 300 << 10, 105 << 10, 150 << 10, 512 })
        {
            files = await StopAsync(files, size, preallocation);
            // QEMU writes whole clusters, and such a file is not cut where the disk grows.
            Assert.InRange(files[Data].Length, size, (size + 65535) & -65536);
            await File.WriteAllBytesAsync(path, files[Image], Token);
            await File.WriteAllBytesAsync(folder.File(Data), files[Data], Token);
            await Qemu.ImgOkAsync("check", path);
            string compared = await Qemu.ImgOkAsync("compare", "-f", "qcow2", "-F", "raw", path, folder.File(Data));
            Assert.EndsWith("Images are identical.\n", compared, StringComparison.Ordinal);
        }
    }

    /// <summary>A raw file that is longer than the disk: at no stop has it lost a byte, whichever way the disk's size goes.</summary>
    [Theory]
    [InlineData("", Preallocation.Off)]
    [InlineData("cluster_size=512,", Preallocation.Metadata)]
    [InlineData("cluster_size=4k,", Preallocation.Full)]
    [InlineData("cluster_size=16k,extended_l2=on,", Preallocation.Falloc)]
    public async Task NoStopLosesWhatLiesBehindTheDisk(string options, Preallocation preallocation)
    {
        using var folder = new TempFolder();
        byte[] bytes = ForeignRawDisk.RandomBytes(300 << 10);
        string data = folder.Write(Data, bytes);
        string all = $"{options}data_file={data},data_file_raw=on,keep_data_file=on";
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", "-o", all, folder.File(Image), "101k");
        await Support.Cli.OkAsync("bitmap", "--add", "-g", "512", folder.File(Image), "fine");
        var files = new Dictionary<string, byte[]>(StringComparer.Ordinal)
        {
            [Image] = await File.ReadAllBytesAsync(folder.File(Image), Token),
            [Data] = bytes,
        };
        foreach (long size in new long[] { 102 << 10, 150 << 10, 120 << 10, 512, 201 << 10, 300 << 10, 333 << 10 })
        {
            files = await StopAsync(files, size, preallocation, bytes);
            Assert.Equal(Math.Max(size, bytes.Length), files[Data].Length);
        }
    }

    /// <summary>A growth that has not happened leaves the data file as long as it was.</summary>
    [Theory]
    [InlineData("")]
    [InlineData(",data_file_raw=on")]
    public async Task AFailedGrowthLeavesTheDataFilesLength(string options)
    {
        using var folder = new TempFolder();
        string all = $"data_file={folder.File(Data)}{options}";
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", "-o", all, folder.File(Image), "200k");
        byte[] start = await File.ReadAllBytesAsync(folder.File(Image), Token);
        byte[] data = await File.ReadAllBytesAsync(folder.File(Data), Token);
        int refused = 0;
        bool hasFailed = true;
        for (int flush = 1; hasFailed; flush++)
        {
            var storage = new FailingStorage(new MemoryStorage(start)) { FailingFlush = flush };
            var dataFile = new MemoryStorage(data);
            await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);

            Exception? error = await Record.ExceptionAsync(
                async () => await image.ResizeAsync(300 << 10, new Qcow2ResizeOptions { DataFile = dataFile }, Token));

            hasFailed = storage.HasFailed;
            Assert.Equal(error is null ? 300 << 10 : 200 << 10, image.VirtualSizeBytes);
            Assert.Equal(image.VirtualSizeBytes, dataFile.Length);
            refused += error is null ? 0 : 1;
        }

        Assert.True(refused > 0);
    }

    private static async Task<Dictionary<string, byte[]>> StopAsync(
        Dictionary<string, byte[]> start, long size, Preallocation preallocation, byte[]? kept = null)
    {
        void RequireKept(byte[] data, string context) =>
            Assert.True(data.AsSpan().StartsWith(kept), $"{size}, {context}: bytes of the data file are lost");

        var files = new CrashChain(start);
        ImageStorage dataFile = await OpenAsync(files, Data);
        ImageStorage imageFile = await OpenAsync(files, Image);
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(imageFile, leaveOpen: true, cancellationToken: Token))
        {
            bool grows = size > image.VirtualSizeBytes;
            var options = new Qcow2ResizeOptions
            {
                AllowShrink = !grows,
                DataFile = dataFile,
                Preallocation = grows ? preallocation : Preallocation.Off,
            };
            await image.ResizeAsync(size, options, Token);
        }

        ImageViews before = await ImageViews.ReadAsync(start[Image], start[Data]);
        Dictionary<string, byte[]> end = files.Content;
        ImageViews after = await ImageViews.ReadAsync(end[Image], end[Data]);
        Assert.NotEqual(before.Text, after.Text);
        Assert.True(after.IsClean, $"after: {after}");
        RequireKept(end[Data], "after");
        int asBefore = 0;
        int asAfter = 0;
        foreach ((Dictionary<string, byte[]> content, string description) in files.Stops(seed: 1, samples: 8))
        {
            ImageViews state = await ImageViews.ReadAsync(content[Image], content[Data]);
            RequireKept(content[Data], description);
            Assert.True(state.Check is { Corruptions: 0, CheckErrors: 0, Leaks: 0 }, $"{description}: {state}");
            asBefore += state.Text == before.Text ? 1 : 0;
            asAfter += state.Text == after.Text ? 1 : 0;
            Assert.True(
                state.Text == before.Text || state.Text == after.Text, $"{description}:\n{state}\nbefore:\n{before}\nafter:\n{after}");
        }

        Assert.True(asBefore > 0 && asAfter > 0, $"{asBefore} states are as before, {asAfter} as after");
        return end;
    }

    private static Task<ImageStorage> OpenAsync(CrashChain files, string name) =>
        files.OpenAsync(new BackingReference("", name, null, 0), ImageLock.None, Token);
}
