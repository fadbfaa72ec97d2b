using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>What an operation has no room for, or no locks, is refused before anything is written.</summary>
public sealed class ChainSpaceTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();
    private readonly string[] _paths;

    public ChainSpaceTests() => _paths = [.. ((string[])["top.qcow2", "middle.qcow2", "base.qcow2"]).Select(_folder.File)];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(false, 0)]
    [InlineData(false, -1)]
    [InlineData(true, 0)]
    [InlineData(true, -1)]
    public async Task ADeviceTakesACommitOrAPullThatFitsToTheByte(bool isPull, int spareClusters)
    {
        await MakeAsync();
        int target = isPull ? 0 : 2;
        ChainMeasurement measured;
        await using (ImageChain look = await ImageChain.OpenAsync(_paths[0], cancellationToken: Token))
        {
            measured = isPull
                ? await new ChainRebase(look, 0, (int?)null).MeasureAsync(cancellationToken: Token)
                : await new ChainCommit(look, 0, 2).MeasureAsync(cancellationToken: Token);
        }

        long capacity = measured.Target.RequiredBytes + (spareClusters * 65536L);
        await using (FileStream file = File.OpenWrite(_paths[target]))
        {
            file.SetLength(capacity);
        }

        byte[][] before = await ReadAllAsync();
        NoSpaceException? refused = null;
        await using (ImageChain chain = await OpenWithDeviceAsync(target))
        {
            try
            {
                _ = isPull
                    ? await new ChainRebase(chain, 0, (int?)null).RunAsync(cancellationToken: Token)
                    : await new ChainCommit(chain, 0, 2).RunAsync(cancellationToken: Token);
            }
            catch (NoSpaceException e)
            {
                refused = e;
            }
        }

        if (spareClusters == 0)
        {
            Assert.Null(refused);
            ProcessResult check = await Qemu.ImgAsync("check", _paths[target]);
            Assert.True(check.ExitCode == 0, check.Output + check.Error);
            return;
        }

        Assert.Equal((measured.Target.RequiredBytes, capacity), (refused!.NeededBytes, refused.AvailableBytes));
        Assert.Contains(
            $"no space: {measured.Target.RequiredBytes} bytes are needed in all, {capacity} are there; extend the volume first, "
            + $"nothing was written",
            refused.Message, StringComparison.Ordinal);
        Assert.Equal(before, await ReadAllAsync());
    }

    /// <summary>The device is the last image that is written: without a look beforehand the other one would be changed by then.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    public async Task ADeviceThatIsTooFullForARebuiltBitmapLeavesAllImagesAlone(int spareClusters)
    {
        await MakeAsync();
        foreach (string path in _paths.Take(2))
        {
            await Qemu.ImgOkAsync("bitmap", "--remove", path, "a");
            // So that nothing is free inside the file.
            await Qemu.IoOkAsync(path, "write -P 9 5M 1M");
        }

        ChainMeasurement measured;
        await using (ImageChain look = await ImageChain.OpenAsync(_paths[0], cancellationToken: Token))
        {
            measured = await new ChainPopulate(look, "a").MeasureAsync(cancellationToken: Token);
        }

        Assert.Equal(_paths.Take(2), measured.Images.Select(static room => room.Image));
        Assert.True(measured.Target.Image == _paths[0] && measured.Target.AdditionalBytes > 0, measured.Target.ToString());
        await using (FileStream file = File.OpenWrite(_paths[0]))
        {
            file.SetLength(measured.Target.RequiredBytes + (spareClusters * 65536L));
        }

        byte[][] before = await ReadAllAsync();
        Exception? refused;
        await using (ImageChain chain = await OpenWithDeviceAsync(0))
        {
            refused = await Record.ExceptionAsync(() => new ChainPopulate(chain, "a").RunAsync(cancellationToken: Token));
        }

        if (spareClusters == 0)
        {
            Assert.Null(refused);
            Assert.NotEqual(before, await ReadAllAsync());
        }
        else
        {
            Assert.IsType<NoSpaceException>(refused);
            Assert.Equal(before, await ReadAllAsync());
        }
    }

    [Fact]
    public async Task AFileSystemThatIsSurelyTooFullIsTold()
    {
        await MakeAsync();
        await using ImageChain chain = await ImageChain.OpenAsync(_paths[0], new ChainOpenOptions { WritableLayers = [0, 1, 2] }, Token);
        long additional = (await new ChainCommit(chain, 0, 2).MeasureAsync(cancellationToken: Token)).Target.AdditionalBytes;
        long atMost = (await new ChainCommit(chain, 0, 2).MeasureAsync(readsData: false, Token)).Target.AdditionalBytes;
        Assert.True(atMost > additional, $"{atMost} {additional}");
        Task CheckAsync(long free) => SpaceCheck.RequireAsync(new ChainCommit(chain, 0, 2), 2, 8 << 20, Token, free).AsTask();
        await CheckAsync(additional);
        NoSpaceException refused = await Assert.ThrowsAsync<NoSpaceException>(() => CheckAsync(additional - 1));
        Assert.Equal((additional, additional - 1), (refused.NeededBytes, refused.AvailableBytes));
    }

    [Fact]
    public async Task TheFileSystemOfATemporaryFolderIsAsked()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Linux only");
        long? free = FileSystemRoom.AvailableBytes(Path.GetDirectoryName(_paths[0])!);
        string df = (await Qemu.RunAsync("stat", null, "-f", "-c", "%T %a %S", Path.GetDirectoryName(_paths[0])!)).Output.Trim();
        string[] parts = df.Split(' ');
        Assert.SkipUnless(
            parts[0] is "tmpfs" or "xfs" || parts[0].StartsWith("ext", StringComparison.Ordinal),
            $"a file system whose word is not taken: {df}");
        Assert.NotNull(free);
        // Others write there too.
        Assert.InRange(
            free.Value / 1e9,
            (double.Parse(parts[1], System.Globalization.CultureInfo.InvariantCulture) * long.Parse(
                parts[2], System.Globalization.CultureInfo.InvariantCulture) / 1e9) - 2,
            (double.Parse(parts[1], System.Globalization.CultureInfo.InvariantCulture) * long.Parse(
                parts[2], System.Globalization.CultureInfo.InvariantCulture) / 1e9)
                + 2);
    }

    [Theory]
    [InlineData("commit", 0)]
    [InlineData("commit", 1)]
    [InlineData("commit", 2)]
    [InlineData("pull", 0)]
    [InlineData("pull", 1)]
    [InlineData("pull", 2)]
    [InlineData("rebase", 0)]
    [InlineData("rebase", 2)]
    [InlineData("flatten", 1)]
    [InlineData("snapshot", 0)]
    [InlineData("populate", 1)]
    [InlineData("delete", 1)]
    [InlineData("measure", 1)]
    public async Task WhatAnotherProcessWritesIsNotTouched(string operation, int held)
    {
        await MakeAsync();
        byte[][] before;
        await using (await QemuIoHolder.StartAsync(_paths[held]))
        {
            // QEMU may have changed flags when it opened the image.
            before = await ReadAllAsync();
            string made = _folder.File("new.qcow2");
            ProcessResult result = await Support.Cli.RunAsync(["chain", operation, .. operation switch
            {
                "commit" => (string[])[_paths[0], _paths[2]],
                "pull" => [_paths[0]],
                "rebase" => ["-b", "", _paths[0]],
                "populate" or "delete" => [_paths[0], "a"],
                "measure" => ["--commit", _paths[2], _paths[0]],
                _ => [_paths[0], made],
            }]);
            Assert.Equal(1, result.ExitCode);
            Assert.Contains("lock", result.Error, StringComparison.OrdinalIgnoreCase);
            Assert.Contains(Path.GetFileName(_paths[held]), result.Error, StringComparison.Ordinal);
            Assert.Equal(_paths.Length, Directory.GetFiles(Path.GetDirectoryName(made)!).Length);
            Assert.Equal(before, await ReadAllAsync());
        }
    }

    private async Task MakeAsync()
    {
        Qemu.Require();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _paths[2], "8M");
        await Qemu.ImgOkAsync("bitmap", "--add", _paths[2], "a");
        await Qemu.IoOkAsync(_paths[2], "write -P 1 0 1M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", _paths[1]);
        await Qemu.ImgOkAsync("bitmap", "--add", _paths[1], "a");
        await Qemu.IoOkAsync(_paths[1], "write -P 2 2M 1M", "write -P 0 4M 256k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "middle.qcow2", "-F", "qcow2", _paths[0]);
        await Qemu.ImgOkAsync("bitmap", "--add", _paths[0], "a");
        await Qemu.IoOkAsync(_paths[0], "write -P 3 3M 1M");
    }

    private Task<byte[][]> ReadAllAsync() => Task.WhenAll(_paths.Select(path => File.ReadAllBytesAsync(path, Token)));

    private async Task<ImageChain> OpenWithDeviceAsync(int device)
    {
        var resolver = new DeviceResolver(_paths, device);
        return await ImageChain.OpenAsync(
            resolver.Open(0), new ChainOpenOptions { Resolver = resolver, WritableLayers = [0, 1, 2] }, Token);
    }

    private sealed class DeviceResolver(string[] paths, int device) : IBackingResolver
    {
        public ImageStorage Open(int index)
        {
            var file = FileStorage.Open(paths[index], FileAccess.ReadWrite, ImageLock.Write);
            return index == device ? new FixedSizeStorage(file) : file;
        }

        public Task<ImageStorage> OpenAsync(
            BackingReference reference, ImageLock imageLock, CancellationToken cancellationToken = default) =>
            Task.FromResult(Open(reference.Depth));
    }
}
