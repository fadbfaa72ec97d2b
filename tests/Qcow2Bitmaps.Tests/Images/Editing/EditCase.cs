using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>An edit, and the images that it fits.</summary>
/// <param name="Name">What is edited.</param>
/// <param name="Population">The bitmaps that it needs.</param>
/// <param name="Steps">The steps.</param>
internal sealed record EditCase(string Name, Population Population, Action<BitmapEdit, Qcow2Image> Steps)
{
    public static readonly IReadOnlyList<EditCase> All =
    [
        new("add the first", Population.None, static (edit, _) => edit.Add("new")),
        new(
            "add the first ones with bits", Population.None,
            static (edit, image) => edit.Add("new", 512).Set("new", 0, image.VirtualSizeBytes).Add("other").Set("other", 70_000, 1)),
        new("add the first where others are ignored", Population.Ignored, static (edit, _) => edit.Add("a", 4096).Set("a", 0, 1)),
        new("add another", Population.Several, static (edit, _) => edit.Add("new", isRecording: false)),
        new("add a few", Population.One, static (edit, _) => edit.Add(new string('n', 700)).Add(new string('m', 701)).Add("new")),
        new("remove one", Population.Several, static (edit, _) => edit.Remove("fine")),
        new("remove the last", Population.One, static (edit, _) => edit.Remove("a")),
        new("remove an inconsistent one", Population.Several, static (edit, _) => edit.Remove("broken")),
        new("remove all", Population.Several, static (edit, _) => edit.RemoveAll()),
        new("replace all", Population.Several, static (edit, _) => edit.RemoveAll().Add("a", 65_536).Set("a", 0, 1 << 20)),
        new("clear", Population.Several, static (edit, _) => edit.Clear("fine")),
        new("enable", Population.Several, static (edit, _) => edit.Enable("off")),
        new("disable", Population.One, static (edit, _) => edit.Disable("a")),
        new("rename", Population.Several, static (edit, _) => edit.Rename("coarse", "coarse, and now with a longer name")),
        new("merge finer", Population.Several, static (edit, _) => edit.Merge("fine", into: "coarse")),
        new("merge coarser", Population.Several, static (edit, _) => edit.Merge("coarse", into: "fine")),
        new("merge the same", Population.Several, static (edit, _) => edit.Merge("same", into: "a")),
        new("merge all dirty", Population.Several, static (edit, _) => edit.Merge("off", into: "fine")),
        new("merge from memory", Population.One, static (edit, image) => edit.Merge(InMemory(image), into: "a")),
        new("set", Population.One, static (edit, image) => edit.Set("a", 1 << 19, 3 << 19).Set("a", image.VirtualSizeBytes - 1, 1)),
        new("clear a range", Population.Several, static (edit, _) => edit.Clear("off", 1 << 16, 1 << 20)),
        new("a mix", Population.Several, static (edit, image) => edit
            .Add("new")
                .Merge("fine", into: "new")
                .Merge(InMemory(image), into: "coarse")
                .Remove("same")
                .Disable("a")
                .Clear("a")
                .Rename("fine", "finest")
            .Set("finest", 0, 1 << 18).Enable("off").Remove("broken").Add("same")),
    ];

    /// <summary>Edits an image and closes it.</summary>
    public async Task RunAsync(ImageStorage storage, CancellationToken cancellationToken)
    {
        await using Qcow2Image image = await OpenAsync(storage);
        await RunAsync(image, cancellationToken);
    }

    public async Task RunAsync(Qcow2Image image, CancellationToken cancellationToken) =>
        await image.Bitmaps.EditAsync(edit => Steps(edit, image), cancellationToken);

    public static Task<Qcow2Image> OpenAsync(ImageStorage storage) =>
        Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: TestContext.Current.CancellationToken);

    /// <summary>Edits an image in memory.</summary>
    public async Task<byte[]> RunAsync(byte[] content)
    {
        await using var storage = new MemoryStorage(content);
        await RunAsync(storage, TestContext.Current.CancellationToken);
        return storage.ToArray();
    }

    public override string ToString() => Name;

    private static DirtyBitmap InMemory(Qcow2Image image)
    {
        var bits = new DirtyBitmap(image.VirtualSizeBytes, 8192);
        bits.Set(40_000, 100_000);
        return bits;
    }
}
