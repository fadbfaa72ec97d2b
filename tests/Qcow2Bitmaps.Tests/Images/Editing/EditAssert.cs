using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>What must hold of an image after an edit.</summary>
internal static class EditAssert
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Our reader lists the model's bitmaps and reads their bits.</summary>
    public static async Task IsModelAsync(Qcow2Image image, EditModel model)
    {
        Assert.Equal(
            model.Bitmaps.Select(static bitmap => bitmap.Listed),
            image.Bitmaps.Select(static bitmap => new StoredBitmap(bitmap.Name, bitmap.GranularityBytes, bitmap.Flags, "")));
        foreach (ModelBitmap bitmap in model.Bitmaps.Where(static bitmap => !bitmap.IsInconsistent))
        {
            DirtyBitmap read = await image.Bitmaps.LoadAsync(bitmap.Name, cancellationToken: Token);
            Assert.Equal(bitmap.Bits.Extents(), read.Extents(includeClean: true).ToList());
        }
    }

    /// <summary>Our check finds nothing but leaks, and no more of those than there were.</summary>
    public static async Task IsSoundAsync(Qcow2Image image, long leaksBefore = 0)
    {
        var report = await image.CheckAsync(Token);
        Assert.True(
            report.Corruptions == 0 && report.CheckErrors == 0 && report.Leaks <= leaksBefore,
            $"{report.Corruptions} corruptions, {report.CheckErrors} errors, {report.Leaks} leaks: "
            + $"{string.Join('\n', report.Findings.Take(5).Select(static f => f.Message))}");
    }

    /// <summary>QEMU finds the image clean, or with the leaks that it had, and lists the model's bitmaps.</summary>
    public static async Task QemuAgreesAsync(QemuNode node, EditModel model, bool hadLeaks = false)
    {
        ProcessResult check = await node.CheckAsync();
        Assert.True(check.ExitCode == (hadLeaks ? 3 : 0), $"qemu-img check: {check.ExitCode}\n{check.Output}{check.Error}");
        Assert.Equal(model.Bitmaps.Select(static bitmap => bitmap.Listed), await node.ListAsync());
    }
}
