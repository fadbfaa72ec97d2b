using Qcow2Bitmaps.Tests.Images.Creation;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// What verbs write for zeros: no image grows by more than qemu-img lets it grow, and by much less where qemu-img says of each cluster of a
/// disk that it is zeros. The guest sees the same.
/// </summary>
public sealed class FileGrowthTests
{
    private const int ClusterBits = 16;

    /// <summary>
    /// Images as <c>qemu-img create</c> has them, what qemu-io writes to them, the verb (of which qemu-img has the same), the image that
    /// changes or is made, and how many clusters more it may take.
    /// </summary>
    /// <remarks>
    /// One more where qemu-img lets the new backing file show through an image of version 2 and so changes what the guest sees, and where
    /// the base of a commit grows, whose counts are copied for the switch.
    /// </remarks>
    public static TheoryData<string, string, string, string, int> Verbs => new()
    {
        { "a:compat=1.1:4G c:compat=1.1:8G", "a:1G c:7G", "rebase -b @c -F qcow2 @a", "a", 0 },
        { "a:compat=1.1:4G c:compat=1.1:8G", "a:1G c:3G", "rebase -b @c -F qcow2 @a", "a", 0 },
        { "a:compat=0.10:4G c:compat=1.1:8G", "a:1G c:7G", "rebase -b @c -F qcow2 @a", "a", 0 },
        { "a:compat=0.10:4G c:compat=1.1:8G", "a:1G c:3G", "rebase -b @c -F qcow2 @a", "a", 1 },
        { "a:compat=1.1,extended_l2=on:4G c:compat=1.1:8G", "a:1G c:3G", "rebase -b @c -F qcow2 @a", "a", 0 },
        { "a:compat=1.1,cluster_size=2M:4G c:compat=1.1,cluster_size=4k:8G", "a:1G c:3G c:3221291008", "rebase -b @c -F qcow2 @a", "a", 0 },
        { "a:compat=1.1:4G c:raw:8G", "a:1G c:3G", "rebase -b @c -F raw @a", "a", 0 },
        { "a:compat=0.10:4G c:raw:8G", "a:1G c:3G", "rebase -b @c -F raw @a", "a", 1 },
        { "b:compat=1.1:4G c:compat=1.1:4G a:compat=1.1:4G:b", "b:2G c:2G", "rebase -b @c -F qcow2 @a", "a", 0 },
        { "b:compat=1.1:4G c:compat=1.1:1G a:compat=1.1:4G:b", "b:2G a:1G", "rebase -b @c -F qcow2 @a", "a", 0 },
        { "b:compat=1.1:1G c:compat=1.1:4G a:compat=1.1:4G:b", "b:0 c:2G a:1G", "rebase -b @c -F qcow2 @a", "a", 0 },
        { "b:compat=1.1:4G a:compat=1.1:4G:b", "b:2G a:1G", "rebase -b '' @a", "a", 0 },
        { "b:compat=0.10:4G a:compat=0.10:4G:b", "b:2G a:1G", "rebase -b '' @a", "a", 0 },
        { "b:compat=1.1:4G a:compat=1.1:4G:b", "b:2G a:1G", "commit @a", "b", 0 },
        { "b:compat=0.10:4G a:compat=0.10:4G:b", "b:2G a:1G", "commit @a", "b", 0 },
        { "b:compat=1.1:1G a:compat=1.1:4G:b", "b:0 a:2G", "commit @a", "b", 1 },
        { "b:compat=1.1:4G a:compat=1.1:1G:b", "b:2G", "resize @a 4G", "a", 0 },
        { "a:compat=1.1:4G n:compat=1.1:4G", "a:1G", "convert -n -O qcow2 @a @n", "n", 0 },
        { "a:compat=1.1:4G n:compat=0.10:4G", "a:1G", "convert -n -O qcow2 @a @n", "n", 0 },
        { "a:compat=1.1:4G n:compat=1.1:4G", "a:1G n:3G", "convert -n -O qcow2 @a @n", "n", 0 },
        { "a:compat=1.1:4G b:compat=1.1:4G n:compat=1.1:4G:b", "a:1G b:3G", "convert -n -O qcow2 @a @n", "n", 0 },
        { "b:compat=1.1:4G a:compat=1.1:4G:b", "b:2G a:1G", "convert -O qcow2 -B @b -F qcow2 @a @x", "x", 0 },
        { "a:compat=1.1:4G", "a:1G", "convert -O qcow2 @a @x", "x", 0 },
    };

    [Theory]
    [MemberData(nameof(Verbs))]
    public async Task IsAtMostThatOfQemu(string images, string writes, string verb, string grows, int moreClusters)
    {
        Qemu.Require();
        using var ours = TempFolder.InMemory();
        using var theirs = TempFolder.InMemory();
        foreach (TempFolder folder in (TempFolder[])[ours, theirs])
        {
            await MakeAsync(folder, images, writes);
        }

        // Of a commit it is the overlay's disk that stays, of a conversion the source's.
        bool isRebase = verb.StartsWith("rebase", StringComparison.Ordinal);
        string seen = isRebase ? grows : "a";
        await Qemu.ImgOkAsync("convert", "-O", "qcow2", ours.File(seen), ours.File("before"));
        string[] Words(TempFolder folder) =>
            [
                .. verb.Split(' ').Select(
                    word => word.Replace("''", "", StringComparison.Ordinal).Replace("@", folder.Path + "/", StringComparison.Ordinal))];

        ProcessResult expected = await Qemu.ImgAsync(Words(theirs));
        Assert.True(expected.ExitCode == 0, expected.Error);
        await Support.Cli.OkAsync(Words(ours));

        long most = SparseFiles.LengthOf(theirs.File(grows)) + ((long)moreClusters << ClusterBits);
        long length = SparseFiles.LengthOf(ours.File(grows));
        TestContext.Current.TestOutputHelper?.WriteLine($"{length} bytes, {most} at most");
        Assert.True(length <= most, $"{length} bytes, {most} at most");
        await Qemu.ImgOkAsync("check", "-q", ours.File(grows));
        // Longer disks have zeros there.
        await Qemu.ImgOkAsync("compare", ours.File("before"), ours.File(grows));
    }

    private static async Task MakeAsync(TempFolder folder, string images, string writes)
    {
        foreach (string[] image in images.Split(' ').Select(static image => image.Split(':')))
        {
            string[] backing = image.Length > 3 ? ["-b", folder.File(image[3]), "-F", "qcow2"] : [];
            string[] format = image[1] == "raw" ? ["-f", "raw"] : ["-f", "qcow2", "-o", image[1]];
            await Qemu.ImgOkAsync(["create", "-q", .. format, .. backing, folder.File(image[0]), image[2]]);
        }

        foreach (string[] write in writes.Split(' ').Select(static write => write.Split(':')))
        {
            string path = folder.File(write[0]);
            bool isRaw = images.Contains($"{write[0]}:raw", StringComparison.Ordinal);
            ProcessResult result = await Qemu.RunAsync(
                "qemu-io", null, "-f", isRaw ? "raw" : "qcow2", "-c", $"write -P 7 {write[1]} 4k", path);
            Assert.True(result.ExitCode == 0, result.Error + result.Output);
        }
    }
}
