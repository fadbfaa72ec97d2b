using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>What is no image at all, given as one: a clean error at once, from the library and the tool.</summary>
public sealed class NotAnImageTests
{

    [Theory]
    [InlineData("empty")]
    [InlineData("50 bytes")]
    [InlineData("90 bytes")]
    [InlineData("magic only")]
    [InlineData("directory")]
    [InlineData("FIFO")]
    [InlineData("link to a FIFO")]
    [InlineData("link to itself")]
    [InlineData("absent")]
    [InlineData("/dev/zero")]
    [InlineData("/dev/null")]
    [InlineData("/dev/full")]
    [InlineData("/proc/self/mem")]
    [InlineData("a\0b")]
    public async Task IsRefusedByEveryWayIn(string what)
    {
        using var folder = new TempFolder();
        string path = Make(folder, what);
        CancellationToken token = TestContext.Current.CancellationToken;

        await Assert.ThrowsAnyAsync<IOException>(() => Within(Qcow2Image.OpenAsync(path, cancellationToken: token)));
        await Assert.ThrowsAnyAsync<IOException>(
            () => Within(ImageChain.OpenAsync(path, new ChainOpenOptions { TopFormat = ImageFormat.Qcow2 }, token)));
        foreach (string[] command in new string[][] { ["info"], ["extents"], ["chain", "check"] })
        {
            string[] rest = command[0] == "extents" ? [path, "bitmap"] : [path];
            ProcessResult result = await Within(Support.Cli.RunAsync([.. command, "-f", "qcow2", .. rest]));
            Assert.Equal(1, result.ExitCode);
            Assert.Empty(result.OutputBytes);
            Assert.NotEmpty(result.Error);
        }
    }

    [Theory]
    [InlineData("directory")]
    [InlineData("FIFO")]
    [InlineData("/dev/zero")]
    [InlineData("/dev/null")]
    [InlineData("/dev/full")]
    public async Task IsRefusedAsRawToo(string what)
    {
        using var folder = new TempFolder();
        string path = Make(folder, what);

        await Assert.ThrowsAnyAsync<IOException>(
            () => Within(
                ImageChain.OpenAsync(path, new ChainOpenOptions { TopFormat = ImageFormat.Raw }, TestContext.Current.CancellationToken)));
        Assert.Equal(1, (await Within(Support.Cli.RunAsync("info", path))).ExitCode);
    }

    private static string Make(TempFolder folder, string what)
    {
        Assert.SkipUnless(LinuxNative.IsSupported || !what.StartsWith('/'), "Devices of Linux");
        switch (what)
        {
            case "empty":
                return folder.Write(what, []);
            case "50 bytes":
                return folder.Write(what, Patched.Usual().Bytes[..50]);
            case "90 bytes":
                return folder.Write(what, Patched.Usual().Bytes[..90]);
            case "magic only":
                return folder.Write(what, Patched.Usual().Bytes[..4]);
            case "directory":
                return folder.Path;
            case "FIFO":
                return SpecialFile.Fifo(folder.File(what));
            case "link to a FIFO":
                File.CreateSymbolicLink(folder.File(what), SpecialFile.Fifo(folder.File("FIFO")));
                return folder.File(what);
            case "link to itself":
                File.CreateSymbolicLink(folder.File(what), folder.File(what));
                return folder.File(what);
            default:
                return what.StartsWith('/') ? what : folder.File(what);
        }
    }

    private static Task<T> Within<T>(Task<T> task) => task.WaitAsync(Patience.Limit, TestContext.Current.CancellationToken);
}
