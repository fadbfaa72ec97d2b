using System.Text.Json;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>
/// An image whose reference counts are behind is repaired by the first edit, as QEMU repairs it by opening it for writing.
/// </summary>
public sealed class DirtyImageEditTests : IDisposable
{
    private readonly TempFolder _folder = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task AnEditEndsAsQemusDoes()
    {
        Qemu.Require();
        string ours = Copy("ours.qcow2");
        string theirs = Copy("theirs.qcow2");

        ProcessResult edited = await Support.Cli.RunAsync("bitmap", "--add", "--disable", ours, "x");
        await Qemu.ImgOkAsync("bitmap", "--add", "--disable", theirs, "x");

        Assert.True(edited.ExitCode == 0, edited.Error);
        Assert.Equal(await SpecificAsync(theirs), await SpecificAsync(ours));
        Assert.Contains("No errors", await Qemu.ImgOkAsync("check", ours), StringComparison.Ordinal);
        await Qemu.ImgOkAsync("compare", ours, theirs);
    }

    /// <summary>A step that is refused is refused after the repair, which QEMU does on opening.</summary>
    [Fact]
    public async Task AStepThatIsRefusedLeavesARepairedImage()
    {
        string path = Copy("ours.qcow2");
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token);

        await Assert.ThrowsAsync<BitmapStateException>(
            async () => await image.Bitmaps.EditAsync(static edit => edit.Clear("nosuch"), Token));

        Assert.False(image.Header.IncompatibleFeatures.HasFlag(IncompatibleFeatures.Dirty));
        Assert.Equal(0, (await image.CheckAsync(Token)).Corruptions);
    }

    private static async Task<string> SpecificAsync(string path) =>
        JsonDocument.Parse(await Qemu.ImgOkAsync("info", "--output", "json", path)).RootElement.GetProperty("format-specific").ToString();

    private string Copy(string name)
    {
        string copy = _folder.File(name);
        File.Copy(Path.Combine(FixtureFiles.Root, "images", "lazy-refcounts-dirty.qcow2"), copy);
        File.SetAttributes(copy, FileAttributes.Normal);
        return copy;
    }
}
