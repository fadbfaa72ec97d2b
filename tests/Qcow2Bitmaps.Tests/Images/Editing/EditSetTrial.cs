using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>
/// Three images in memory, of different layouts, and an edit of all of them: bits go from one to another, where they are removed.
/// </summary>
internal sealed class EditSetTrial : IAsyncDisposable
{
    private readonly List<Qcow2Image> _opened = [];

    public EditSetTrial(TempFolder folder)
    {
        Storages =
        [
            new MemoryStorage(
                new TestImage(12, 2 << 20).WithGuestData(2).WithBitmap("a", 12, bits: [0x81, 0, 0x10]).Build(), folder.File("top.qcow2")),
            new MemoryStorage(
                new TestImage(9, 2 << 20).WithBitmap("a", 9, bits: [0, 0xff, 1]).WithBitmap("b", 16, BitmapFlags.None).Build(),
                folder.File("mid.qcow2")),
            new MemoryStorage(new TestImage(16, 3 << 20).WithGuestData(1).Build(), folder.File("base.qcow2")),
        ];
    }

    public IReadOnlyList<MemoryStorage> Storages { get; }

    public string JournalPath => BitmapEditSet.JournalPathOf(Storages[0].Name);

    /// <summary>Opens the images, each through a storage around it.</summary>
    public async Task<Qcow2Image[]> OpenAsync(Func<MemoryStorage, int, ImageStorage>? wrap = null)
    {
        var images = new List<Qcow2Image>();
        foreach (MemoryStorage storage in Storages)
        {
            images.Add(
                await Qcow2Image.OpenAsync(
                    wrap?.Invoke(storage, images.Count) ?? storage, leaveOpen: true,
                    cancellationToken: TestContext.Current.CancellationToken));
        }

        _opened.AddRange(images);
        return [.. images];
    }

    /// <summary>The edit.</summary>
    public static BitmapEditSet SetOf(Qcow2Image[] images) => new BitmapEditSet()
        .Add(images[0], edit => edit.Merge(images[1], "a", "a").Add("new").Disable("a"))
        .Add(images[1], static edit => edit.Remove("a").Set("b", 70_000, 1))
        .Add(images[2], static edit => edit.Add("first", 512).Set("first", 0, 3 << 20));

    /// <summary>Commits until a write, counted over all images, and stops there for good.</summary>
    /// <returns>Whether there was such a write.</returns>
    public async Task<bool> StopAsync(int write)
    {
        var fuse = new Fuse(write);
        Qcow2Image[] images = await OpenAsync((storage, _) => new FusedStorage(storage, fuse));
        Exception? error = await Record.ExceptionAsync(
            async () => await SetOf(images).CommitAsync(cancellationToken: TestContext.Current.CancellationToken));
        // Behind the last switch nothing is an error any more.
        Assert.True(error is null || (fuse.IsBlown && error is IOException), error?.ToString());
        return fuse.IsBlown;
    }

    /// <summary>The images before and after the edit.</summary>
    public static async Task<(ImageState[] Before, ImageState[] After)> BeforeAndAfterAsync(TempFolder folder)
    {
        await using var trial = new EditSetTrial(folder);
        ImageState[] before = await trial.ReadAsync();
        await SetOf(await trial.OpenAsync()).CommitAsync(cancellationToken: TestContext.Current.CancellationToken);
        return (before, await trial.ReadAsync());
    }

    /// <summary>
    /// The write, counted over all images, that is the first one of the second image's switch: only the first image is switched.
    /// </summary>
    public static async Task<int> WriteThatInterruptsAsync(TempFolder folder)
    {
        for (int n = 1; ; n++)
        {
            await using var trial = new EditSetTrial(folder);
            Assert.True(await trial.StopAsync(n));
            EditRecovery outcome = await BitmapEditSet.RecoverAsync(
                trial.JournalPath, await trial.OpenAsync(), TestContext.Current.CancellationToken);
            if (outcome == EditRecovery.Finished)
            {
                return n;
            }
        }
    }

    public static void AssertSame(ImageState[] expected, ImageState[] actual, string context)
    {
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.True(
                actual[i].IsSound && actual[i].IsSameAs(expected[i]), $"{context}: image {i} is\n{actual[i]}and should be\n{expected[i]}");
        }
    }

    public async Task<ImageState[]> ReadAsync() =>
        await Task.WhenAll(Storages.Select(static storage => ImageState.ReadAsync(storage.ToArray())));

    public byte[][] Bytes() => [.. Storages.Select(static storage => storage.ToArray())];

    public async ValueTask DisposeAsync()
    {
        foreach (Qcow2Image image in _opened)
        {
            await image.DisposeAsync();
        }
    }
}
