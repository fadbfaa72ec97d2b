using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>An image is opened, and no file that it names: no data file ever, a backing file only when a chain is asked for.</summary>
public sealed class OpensNothingElseTests
{
    public static TheoryData<string> DataFiles => new(
        "data.raw",
        "self.qcow2",
        "fifo",
        "../outside.raw",
        "/dev/zero",
        "/etc/passwd",
        "nbd://localhost/x",
        "json:{\"driver\":\"file\",\"filename\":\"data.raw\"}",
        "json:{\"driver\":\"nbd\",\"host\":\"localhost\"}",
        "absent");

    [Theory]
    [MemberData(nameof(DataFiles))]
    public async Task ADataFileIsNeverOpened(string name)
    {
        OpenFiles.Require();
        using var folder = new TempFolder();
        SpecialFile.Fifo(folder.File("fifo"));
        string data = folder.Write("data.raw", new byte[1 << 20]);
        DateTime lastRead = MakeOld(data);
        string path = folder.Write("self.qcow2", HostileExtensions.WithDataFile(name).Bytes);
        await using (ImageChain chain = await ImageChain.OpenAsync(path, cancellationToken: TestContext.Current.CancellationToken))
        {
            Assert.Equal(name, chain.Layers[0].RequireImage().DataFile);
            await chain.Layers[0].RequireImage().Bitmaps.LoadAsync("a", cancellationToken: TestContext.Current.CancellationToken);
            Assert.Equal([path], OpenFiles.Below(folder.Path));
        }

        ProcessResult info = await Support.Cli.RunAsync("info", path);
        Assert.Equal(0, info.ExitCode);
        Assert.Contains($"data file: {name}", info.Output, StringComparison.Ordinal);
        Assert.Equal(0, (await Support.Cli.RunAsync("extents", path, "a")).ExitCode);
        Assert.Equal(0, (await Support.Cli.RunAsync("chain", "check", path)).ExitCode);
        Assert.Equal(lastRead, File.GetLastAccessTimeUtc(data));
        Assert.Empty(OpenFiles.Below(folder.Path));
    }

    [Theory]
    [InlineData("base.raw")]
    [InlineData("fifo")]
    [InlineData("top.qcow2")]
    [InlineData("/dev/zero")]
    [InlineData("json:{}")]
    public async Task ABackingFileIsNotOpenedUnlessAChainIsAskedFor(string name)
    {
        OpenFiles.Require();
        using var folder = new TempFolder();
        SpecialFile.Fifo(folder.File("fifo"));
        string data = folder.Write("base.raw", new byte[1 << 20]);
        DateTime lastRead = MakeOld(data);
        string path = folder.Write("top.qcow2", new TestImage { BackingFile = name }.WithBitmap("a").Build());
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: TestContext.Current.CancellationToken))
        {
            await image.Bitmaps.LoadAsync("a", cancellationToken: TestContext.Current.CancellationToken);
            Assert.Equal([path], OpenFiles.Below(folder.Path));
        }

        Assert.Equal(0, (await Support.Cli.RunAsync("info", path)).ExitCode);
        Assert.Equal(0, (await Support.Cli.RunAsync("extents", path, "a")).ExitCode);
        Assert.Equal(lastRead, File.GetLastAccessTimeUtc(data));
        Assert.Empty(OpenFiles.Below(folder.Path));
    }

    [Fact]
    public async Task OnlyTheResolverDecidesWhichBackingFileIsOpened()
    {
        OpenFiles.Require();
        using var folder = new TempFolder();
        folder.Write("base.raw", new byte[512]);
        string path = folder.Write("top.qcow2", new TestImage { BackingFile = "base.raw" }.Build());
        var resolver = new RefusingResolver();

        await Assert.ThrowsAsync<Qcow2UnsupportedException>(
            () => ImageChain.OpenAsync(path, new ChainOpenOptions { Resolver = resolver }, TestContext.Current.CancellationToken));
        BackingReference asked = Assert.Single(resolver.Asked);
        Assert.Equal(new BackingReference(path, "base.raw", null, 1), asked);
        Assert.Empty(OpenFiles.Below(folder.Path));
    }

    [Fact]
    public async Task TheResolverIsNotAskedWhenTheChainIsNotFollowed()
    {
        var resolver = new RefusingResolver();
        await using ImageChain chain = await ImageChain.OpenAsync(
            MemoryStorage.ReadOnly(new TestImage { BackingFile = "base.raw" }.Build()),
            new ChainOpenOptions { Resolver = resolver, FollowBacking = false },
            TestContext.Current.CancellationToken);
        Assert.Single(chain.Layers);
        Assert.Empty(resolver.Asked);
    }

    [Theory]
    [MemberData(nameof(HostileCases.Names), MemberType = typeof(HostileCases))]
    public async Task AFileIsClosedWhenItIsRefused(string name)
    {
        OpenFiles.Require();
        using var folder = new TempFolder();
        string path = folder.Write("hostile.qcow2", HostileCases.ByName[name].Build());
        try
        {
            await using Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: TestContext.Current.CancellationToken);
            Assert.Equal([path], OpenFiles.Below(folder.Path));
        }
        catch (Qcow2Exception)
        {
            // Which images are refused is tested elsewhere.
        }

        Assert.Empty(OpenFiles.Below(folder.Path));
    }

    /// <summary>Sets a time of last access that reading would change, also where the system saves it at most once a day.</summary>
    private static DateTime MakeOld(string path)
    {
        var old = new DateTime(2001, 2, 3, 4, 5, 6, DateTimeKind.Utc);
        File.SetLastAccessTimeUtc(path, old);
        return File.GetLastAccessTimeUtc(path);
    }
}
