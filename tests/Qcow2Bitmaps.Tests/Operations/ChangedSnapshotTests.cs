using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// Internal snapshots are somebody's data: what they read does not change unsaid when their image stands on something else.
/// </summary>
public sealed class ChangedSnapshotTests : IDisposable
{
    private static readonly string[] s_images = ["base", "middle", "top"];

    private readonly TempFolder _folder = TempFolder.InMemory();

    /// <summary>A verb and the image that has snapshots, or none where the verb changes no snapshot of any image.</summary>
    public static TheoryData<string, string, bool> Cases => new()
    {
        // verb, image, whether its snapshot reads other data afterwards (or is gone)
        { "chain commit {m} {b} --active {t}", "middle", true },
        { "chain commit --keep {m} {b} --active {t}", "middle", true },
        { "chain commit --keep {t} {b}", "middle", true },
        { "chain commit --keep {t} {b}", "top", true },
        { "chain commit {t} {m}", "top", true },
        { "chain commit {m} {b} --active {t}", "top", false },
        { "chain commit {t} {m}", "middle", false },
        { "chain commit --keep {t} {b}", "base", false },
        { "chain pull {t}", "top", true },
        { "chain pull --base {b} {t}", "top", true },
        { "chain pull --base {m} {t}", "top", false },
        { "chain pull {m} --active {t}", "middle", true },
        { "chain pull {m} --active {t}", "top", false },
        { "chain pull {t}", "middle", false },
        { "chain rebase -b % {t}", "top", true },
        { "chain rebase -b base.qcow2 -F qcow2 {t}", "top", true },
        { "chain rebase -b middle.qcow2 -F qcow2 {t}", "top", false },
        { "chain rebase -b % {b}", "base", false },
        { "chain flatten {t} {n}", "top", false },
        { "commit {t}", "top", true },
        { "commit -d {t}", "top", true },
        { "commit -b {b} {t}", "middle", true },
        { "commit {t}", "middle", false },
        { "commit {t}", "base", false },
        { "rebase -b % {t}", "top", true },
        { "rebase -b base.qcow2 -F qcow2 {t}", "top", true },
        { "rebase -b middle.qcow2 -F qcow2 {t}", "top", false },
        { "rebase -b % {t}", "middle", false },
    };

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task SnapshotsReadTheSameOrItIsSaid(string verb, string image, bool changes)
    {
        await MakeAsync(image);
        byte[] read = await ReadSnapshotAsync(image);
        FolderContent before = FolderContent.Of(_folder.Path);

        ProcessResult result = await Support.Cli.RunAsync([.. verb.Split(' ').Select(Filled)]);

        bool isChainVerb = verb.StartsWith("chain", StringComparison.Ordinal);
        Assert.Equal(changes, result.Error.Contains("internal snapshots", StringComparison.Ordinal));
        Assert.Equal(changes && isChainVerb ? 1 : 0, result.ExitCode);
        if (changes)
        {
            Assert.Contains("'first', 'second'", result.Error, StringComparison.Ordinal);
        }

        if (changes && isChainVerb)
        {
            before.AssertSame();
        }
        else if (!changes)
        {
            Assert.Equal(read, await ReadSnapshotAsync(image));
        }
        else
        {
            // qemu-img's verbs do as qemu-img does, with a word more.
            Assert.Contains("warning: ", result.Error, StringComparison.Ordinal);
            Assert.NotEqual(read, await ReadSnapshotAsync(image));
        }
    }

    private async Task MakeAsync(string image)
    {
        Qemu.Require();
        int number = 1;
        string? below = null;
        foreach (string name in s_images)
        {
            string file = _folder.File(name + ".qcow2");
            string[] backing = below is null ? ["8M"] : ["-b", below, "-F", "qcow2"];
            await Qemu.ImgOkAsync(
                below is null ? ["create", "-q", "-f", "qcow2", file, .. backing] : ["create", "-q", "-f", "qcow2", .. backing, file]);
            if (name == image)
            {
                await Qemu.ImgOkAsync("snapshot", "-c", "first", file);
                await Qemu.IoOkAsync(file, $"write -P 77 7M 64k");
                await Qemu.ImgOkAsync("snapshot", "-c", "second", file);
            }

            await Qemu.IoOkAsync(file, $"write -P {number} {number}M 64k", $"write -P {number + 10} 5M 64k");
            below = name + ".qcow2";
            number++;
        }
    }

    private async Task<byte[]> ReadSnapshotAsync(string image)
    {
        var all = new List<byte>();
        foreach (string snapshot in new[] { "first", "second" })
        {
            string target = _folder.File("snapshot.raw");
            await Qemu.ImgOkAsync("convert", "-O", "raw", "-l", snapshot, _folder.File(image + ".qcow2"), target);
            all.AddRange(await File.ReadAllBytesAsync(target, TestContext.Current.CancellationToken));
            File.Delete(target);
        }

        return [.. all];
    }

    private string Filled(string word) => word switch
    {
        "%" => "",
        "{b}" => _folder.File("base.qcow2"),
        "{m}" => _folder.File("middle.qcow2"),
        "{t}" => _folder.File("top.qcow2"),
        "{n}" => _folder.File("new.qcow2"),
        _ => word,
    };
}
