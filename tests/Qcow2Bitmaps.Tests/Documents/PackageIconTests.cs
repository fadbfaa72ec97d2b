namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>The committed icon is the one that is drawn.</summary>
public sealed class PackageIconTests
{
    [Fact]
    public async Task IsTheOneThatIsDrawn()
    {
        string path = Path.Combine(Document.Root, "docs", "icon.png");
        byte[] drawn = PackageIcon.Draw();
        if (Document.IsUpdating)
        {
            await File.WriteAllBytesAsync(path, drawn, TestContext.Current.CancellationToken);
        }

        Assert.Equal(drawn, await File.ReadAllBytesAsync(path, TestContext.Current.CancellationToken));
    }
}
