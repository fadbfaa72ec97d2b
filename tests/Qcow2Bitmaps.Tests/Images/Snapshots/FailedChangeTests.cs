using Qcow2Bitmaps.Images.Resizing;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Snapshots;

/// <summary>A storage that fails, or is full, leaves the image as before or as after, and usable.</summary>
public sealed class FailedChangeTests
{
    private static readonly Dictionary<string, Func<Qcow2Image, Task>> s_changes = new(StringComparer.Ordinal)
    {
        ["create"] = static async image => await image.CreateSnapshotAsync("new", Token),
        ["delete"] = static async image => await image.DeleteSnapshotAsync("old", Token),
        ["apply"] = static async image => await image.ApplySnapshotAsync("old", Token),
        ["grow"] = static async image => await image.ResizeAsync(5 << 20, cancellationToken: Token),
        ["shrink"] = static async image => await image.ResizeAsync(9 << 10, new Qcow2ResizeOptions { AllowShrink = true }, Token),
    };

    public static TheoryData<string> Changes => [.. s_changes.Keys];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Changes))]
    public async Task EachFailureLeavesTheImageAsBeforeOrAsAfter(string change)
    {
        byte[] start = await StartAsync(withBitmaps: change != "apply");
        ImageViews before = await ImageViews.ReadAsync(start);
        ImageViews after = await RunAsync(start, change);
        int failures = 0;
        for (int kind = 0; kind < 6; kind++)
        {
            for (int at = 1; ; at++)
            {
                var memory = new MemoryStorage(start);
                await using var storage = new FailingStorage(memory)
                {
                    FailingWrite = kind is 0 or 1 ? at : 0,
                    FailingFlush = kind is 2 or 3 ? at : 0,
                    FailingGrowth = kind is 4 or 5 ? at : 0,
                    IsGoneAfterwards = kind % 2 == 1,
                    TornBytes = 700,
                };
                await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
                IOException? error = null;
                try
                {
                    await s_changes[change](image);
                }
                catch (IOException e)
                {
                    failures++;
                    error = e;
                }

                string context = $"{change}: failure {at} of kind {kind}";
                ImageViews state = await ImageViews.ReadAsync(memory.ToArray());
                Assert.True(state.Text == before.Text || IsAfter(state, after), $"{context}: {state}\nbefore {before}\nafter {after}");
                Assert.True(state.IsClean, $"{context}: {state}");
                // It has not happened and says so, or it has happened; only a storage that fails when it is
                // written back too leaves that open.
                bool isInDoubt = error?.Message.Contains("as before or as after", StringComparison.Ordinal) == true;
                Assert.True(isInDoubt || (error is null) == IsAfter(state, after), $"{context}: {error}");
                Assert.True(!isInDoubt || kind % 2 == 1, $"{context}: {error}");
                Assert.Equal(state.Text.Contains("'new'", StringComparison.Ordinal), image.Snapshots.Any(static s => s.Name == "new"));
                if (!storage.HasFailed)
                {
                    break;
                }

                storage.IsMended = true;
                if (state.Text == before.Text)
                {
                    await s_changes[change](image);
                    Assert.True(IsAfter(await ImageViews.ReadAsync(memory.ToArray()), after), context);
                }
            }
        }

        Assert.True(failures > 10, $"{failures} failures");
    }

    [Theory]
    [MemberData(nameof(Changes))]
    public async Task AFullDeviceLeavesTheImageAsItIs(string change)
    {
        byte[] start = await StartAsync(withBitmaps: change != "apply");
        ImageViews after = await RunAsync(start, change);
        int refused = 0;
        for (int freeClusters = 0; ; freeClusters++)
        {
            var memory = new MemoryStorage([.. start, .. new byte[freeClusters << 10]]);
            await using (var storage = new FixedSizeStorage(memory))
            {
                await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
                try
                {
                    await s_changes[change](image);
                    Assert.True(IsAfter(await ImageViews.ReadAsync(memory.ToArray()), after));
                    break;
                }
                catch (NoSpaceException)
                {
                    refused++;
                }
            }

            ImageViews state = await ImageViews.ReadAsync(memory.ToArray());
            Assert.Equal((await ImageViews.ReadAsync(start)).ToString(), state.ToString());
        }

        // There is free space in the file itself; for the least of the changes it is enough.
        Assert.InRange(refused, change == "delete" ? 0 : 1, 60);
    }

    private static async Task<byte[]> StartAsync(bool withBitmaps)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = folder.File("a.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", "cluster_size=1k", path, "200k");
        if (withBitmaps)
        {
            await Qemu.ImgOkAsync("bitmap", "--add", "-g", "512", path, "b");
        }

        await Qemu.IoOkAsync(path, "write -P 1 0 10k", "write -P 3 100k 7k");
        await Qemu.ImgOkAsync("snapshot", "-c", "old", path);
        await Qemu.IoOkAsync(path, "write -P 4 8k 30k");
        return await File.ReadAllBytesAsync(path, Token);
    }

    private static async Task<ImageViews> RunAsync(byte[] start, string change)
    {
        var memory = new MemoryStorage(start);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(memory, cancellationToken: Token);
        await s_changes[change](image);
        ImageViews after = await ImageViews.ReadAsync(memory.ToArray());
        Assert.True(after.IsClean, after.ToString());
        return after;
    }

    private static bool IsAfter(ImageViews state, ImageViews after) => state.Text == after.Text;
}
