using System.Buffers.Binary;
using Qcow2Bitmaps.Images.Resizing;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>
/// Stale bytes behind the bitmap directory's end: QEMU leaves some where a device had old data, and they are read over;
/// we leave none, whatever was in the cluster.
/// </summary>
public sealed class DirectoryTailTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Each change stores the directory anew, in clusters that are full of old bytes.</summary>
    public static TheoryData<string> Changes =>
        [.. new[] { "add", "remove", "rename", "clear", "grow", "shrink", "snapshot", "remove all" }];

    [Theory]
    [MemberData(nameof(Changes))]
    public async Task NoStateHasStaleBytes(string change)
    {
        byte[] start = new TestImage().WithBitmap("a", bits: [1])
            .WithBitmap("bcd", bits: [2])
            .WithGuestData(2)
            .WithFreeClusters(40)
            .Build();

        // Each state is read, and that looks behind the directory's end.
        byte[] after = await StopAnywhere.AssertBeforeOrAfterAsync(start, image => ChangeAsync(image, change), mayLeak: true);

        await using Qcow2Image image = await TestImage.OpenAsync(after);
        Assert.Equal(change is "remove all", image.Handle.Contents.First.Bitmaps is null);
    }

    /// <summary>The same on a device, where nothing behind a structure is new.</summary>
    [Theory]
    [MemberData(nameof(Changes))]
    public async Task NorHasADevice(string change)
    {
        byte[] content = new TestImage().WithBitmap("a", bits: [1]).WithBitmap("bcd", bits: [2]).WithGuestData(2).Build();
        byte[] device = [.. content, .. Enumerable.Repeat((byte)0xA5, 60 * 4096)];
        await using var storage = new FixedSizeStorage(new CrashStorage(device));
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token))
        {
            await ChangeAsync(image, change);
        }

        byte[] after = new byte[device.Length];
        await storage.ReadAsync(0, after, Token);
        await using Qcow2Image changed = await TestImage.OpenAsync(after);
        DirectoryTail.AssertZeros(changed, after, change);
    }

    /// <summary>What somebody else has left there is read over, as QEMU does, and gone after the next change.</summary>
    [Fact]
    public async Task StaleBytesOfOthersAreReadOver()
    {
        var made = new TestImage().WithBitmap("a", bits: [1]).WithFreeClusters(10);
        byte[] bytes = made.Build();
        bytes.AsSpan((made.DirectoryOffset + 32)..(made.DirectoryOffset + 4096)).Fill(0xA5);
        using var folder = new TempFolder();
        string path = folder.Write("a.qcow2", bytes);
        if (Qemu.IsHere)
        {
            await Qemu.ImgOkAsync("check", path);
        }

        Assert.Contains("1 dirty granules", await Support.Cli.OkAsync("extents", path, "a"), StringComparison.Ordinal);
        await Support.Cli.OkAsync("bitmap", "--add", path, "b");
        await ImageState.ReadAsync(await File.ReadAllBytesAsync(path, Token));
    }

    /// <summary>
    /// A size that was left behind reaches over clusters that are somebody else's by now: they are not freed with the old directory.
    /// </summary>
    [Theory]
    [InlineData(60_000)]
    [InlineData(100_000)]
    [InlineData(10_000_000)]
    public async Task AMendedSizeCostsNoGuestData(int difference)
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        byte[] data = new byte[4 << 20];
        new SplitMix(1).Fill(data);
        string raw = folder.Write("data.raw", data);
        string disk = folder.File("disk.qcow2");
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", disk, "4M");
        await Support.Cli.OkAsync("bitmap", "--add", "--disable", disk, "good");
        await Support.Cli.OkAsync("bitmap", "--add", "--disable", disk, "other");
        await Support.Cli.OkAsync("convert", "-n", "-f", "raw", "-O", "qcow2", raw, disk);
        byte[] bytes = await File.ReadAllBytesAsync(disk, Token);
        Span<byte> size = bytes.AsSpan(bytes.AsSpan().IndexOf((byte[])[0x23, 0x85, 0x28, 0x75]) + 16, sizeof(ulong));
        BinaryPrimitives.WriteUInt64BigEndian(size, BinaryPrimitives.ReadUInt64BigEndian(size) + (ulong)difference);
        await File.WriteAllBytesAsync(disk, bytes, Token);
        Assert.Equal(1, (await Qemu.ImgAsync("info", disk)).ExitCode);

        ProcessResult mended = await Support.Cli.RunAsync("check", "-r", "bitmaps", disk);

        Assert.Contains(mended.ExitCode, (int[])[0, 3]);
        Assert.True(mended.Error.Count(static c => c == '\n') < 10, mended.Error);
        Assert.Equal(0, (await Support.Cli.RunAsync("check", "-r", "leaks", disk)).ExitCode);
        await Qemu.ImgOkAsync("check", disk);
        await Qemu.ImgOkAsync("compare", "-f", "qcow2", "-F", "raw", disk, raw);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(disk, cancellationToken: Token);
        Assert.Equal(["good", "other"], image.Bitmaps.Select(static bitmap => bitmap.Name));
    }

    private static async Task ChangeAsync(Qcow2Image image, string change)
    {
        switch (change)
        {
            case "grow":
                await image.ResizeAsync(2 * image.VirtualSizeBytes, new Qcow2ResizeOptions(), Token);
                break;
            case "shrink":
                await image.ResizeAsync(image.VirtualSizeBytes / 2, new Qcow2ResizeOptions { AllowShrink = true }, Token);
                break;
            case "snapshot":
                await image.CreateSnapshotAsync("s", Token);
                break;
            default:
                var edit = new BitmapEdit();
                _ = change switch
                {
                    "add" => edit.Add("new"),
                    "remove" => edit.Remove("bcd"),
                    "rename" => edit.Rename("bcd", "x"),
                    "clear" => edit.Clear("a"),
                    _ => edit.Remove("a").Remove("bcd"),
                };
                await image.Bitmaps.EditAsync(edit, Token);
                break;
        }
    }
}
