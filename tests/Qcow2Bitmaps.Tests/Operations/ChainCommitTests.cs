using System.Collections.Immutable;
using System.Globalization;
using FsCheck.Fluent;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// Commits: the base's bitmaps are those of a naive model of libvirt's rules, and those of libvirt's way through qemu-img cover them.
/// </summary>
public sealed class ChainCommitTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void LeaveTheBitmapsOfTheModel()
    {
        Qemu.Require();
        int besideQemu = 0;
        Properties.ForAll(
            Gen.Choose(0, int.MaxValue), 24 * Properties.Factor, seed => besideQemu += CompareAsync(seed).GetAwaiter().GetResult() ? 1 : 0);
        TestContext.Current.TestOutputHelper?.WriteLine(
            string.Create(CultureInfo.InvariantCulture, $"{besideQemu} commits compared with qemu-img's"));
    }

    /// <summary>What is hidden was once rounded to a coarser bitmap, and marked too much in one that cannot be used.</summary>
    [Fact]
    public Task LeaveTheBitmapsOfTheModelWhereTheFinestCannotBeUsed()
    {
        Qemu.Require();
        return CompareAsync(1386377335);
    }

    /// <summary>An image of version 2 has no zero clusters, which would hide what the longer one below it has.</summary>
    [Fact]
    public async Task AreRefusedWhereVersionTwoWouldGrowOverALongerImage()
    {
        using var folder = TempFolder.InMemory();
        string top = folder.File("top.qcow2");
        await Qcow2Image.CreateAsync(folder.File("long.qcow2"), new Qcow2CreateOptions { SizeBytes = 1 << 20 }, Token);
        await Qcow2Image.CreateAsync(
            folder.File("old.qcow2"),
            new Qcow2CreateOptions { SizeBytes = 1 << 18, Version = 2, BackingFile = "long.qcow2", BackingFormat = "qcow2" }, Token);
        await Qcow2Image.CreateAsync(
            top, new Qcow2CreateOptions { SizeBytes = 1 << 19, BackingFile = "old.qcow2", BackingFormat = "qcow2" }, Token);
        byte[] before = await File.ReadAllBytesAsync(folder.File("old.qcow2"), Token);
        await using (ChainCommit commit = await ChainCommit.OpenAsync(top, new MergeOptions(), cancellationToken: Token))
        {
            Qcow2UnsupportedException e = await Assert.ThrowsAsync<Qcow2UnsupportedException>(
                () => commit.RunAsync(cancellationToken: Token));
            Assert.Equal(UnsupportedReason.Version2, e.Reason);
            Assert.Contains("of 262144 bytes cannot grow to 524288", e.Message, StringComparison.Ordinal);
        }

        Assert.Equal(before, await File.ReadAllBytesAsync(folder.File("old.qcow2"), Token));
    }

    [Theory]
    [InlineData("off")]
    [InlineData("on")]
    public async Task ABaseThatGrowsGrowsWithItsDataFile(string isRaw)
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        string @base = folder.File("base.qcow2");
        string top = folder.File("top.qcow2");
        string before = folder.File("before.raw");
        await Qemu.ImgOkAsync(
            "create", "-q", "-f", "qcow2", "-o", $"data_file={folder.File("base.dat")},data_file_raw={isRaw}", @base, "1M");
        await Qemu.IoOkAsync(@base, "write -P 5 64k 64k");
        await Qemu.ImgOkAsync("bitmap", "--add", @base, "c");
        Assert.Equal(0, (await Support.Cli.RunAsync("chain", "snapshot", @base, top)).ExitCode);
        await Qemu.ImgOkAsync("resize", "-q", top, "3M");
        await Qemu.IoOkAsync(top, "write -P 1 0 100k", "write -P 2 2M 64k");
        await Qemu.ImgOkAsync("convert", "-O", "raw", top, before);
        ProcessResult measured = await Support.Cli.RunAsync("chain", "measure", "--commit", @base, top);
        Assert.True(measured.ExitCode == 0, measured.Error);
        ProcessResult result = await Support.Cli.RunAsync("chain", "commit", top, @base);
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", @base, before));
        await Qemu.ImgOkAsync("check", "-q", @base);
    }

    private static async Task<bool> CompareAsync(int seed)
    {
        using var folder = TempFolder.InMemory();
        var random = new SplitMix((ulong)seed);
        IReadOnlyList<string> paths = await new CommitChain(folder, random).MakeAsync(maxLayers: 6, maxClusterBits: 16, maxSectors: 1024);
        int top = random.Below(paths.Count - 1);
        int target = top + 1 + random.Below(paths.Count - top - 1);
        var model = new CommitModel([.. await Task.WhenAll(paths.Select(CommitLayer.ReadAsync))], top, target);
        string context = $"seed {seed}: {model}";
        byte[] before = await DiskAsync(paths[0], folder);
        string copies = Directory.CreateDirectory(folder.File("copy")).FullName;
        string[] copied = [.. paths.Select(path => Path.Combine(copies, Path.GetFileName(path)))];
        for (int i = 0; i < paths.Count; i++)
        {
            File.Copy(paths[i], copied[i]);
        }

        if (model.IsRefused)
        {
            await Assert.ThrowsAsync<BitmapStateException>(() => CommitAsync(paths, top, target));
            for (int i = 0; i < paths.Count; i++)
            {
                byte[] copy = await File.ReadAllBytesAsync(copied[i], Token);
                byte[] now = await File.ReadAllBytesAsync(paths[i], Token);
                Assert.True(now.AsSpan().SequenceEqual(copy), $"{context}: image {i} was changed");
            }

            return false;
        }

        await CommitAsync(paths, top, target);
        ImmutableSortedDictionary<string, CommitBitmap> actual = await CommitLayer.ReadBitmapsAsync(paths[target]);
        AssertSame(model.Expected(), actual, context);
        foreach (string path in paths)
        {
            ProcessResult check = await Qemu.ImgAsync("check", QemuBitmaps.WithoutBacking(path));
            Assert.True(check.ExitCode == 0, $"{context}: {path}: {check.Output}{check.Error}");
        }

        byte[] after = await DiskAsync(paths[top == 0 ? target : 0], folder);
        Assert.True(
            after.AsSpan().StartsWith(before) && (top == 0 || after.Length == before.Length),
            $"{context}: the guest's byte {after.AsSpan().CommonPrefixLength(before)} changed");
        for (int i = 0; i < top; i++)
        {
            await using Qcow2Image above = await Qcow2Image.OpenAsync(paths[i], cancellationToken: Token);
            Assert.Equal(Path.GetFileName(paths[i == top - 1 ? target : i + 1]), above.BackingFile);
            Assert.Equal("qcow2", above.BackingFormat);
        }

        // QEMU merges only between disks of one size, and shows what a shorter image hides.
        if (!model.Layers.All(layer => layer.Sectors == model.TargetSectors))
        {
            return false;
        }

        await CommitAsLibvirtAsync(model, copied);
        ImmutableSortedDictionary<string, CommitBitmap> theirs = await CommitLayer.ReadBitmapsAsync(copied[target]);
        foreach ((string name, CommitBitmap bitmap)
            in actual.Where(pair => model.RunOf(pair.Key).Count > 0 || model.Layers[target].Bitmaps.ContainsKey(pair.Key)))
        {
            // libvirt leaves what is recorded in a bitmap that is not valid over the committed images.
            CommitBitmap their = model.RunOf(name).Count > 0 || theirs[name].State != BitmapState.Recording
                ? theirs[name]
                : theirs[name].With(model.TargetSectors, model.Records(name));
            Assert.True(
                bitmap.State == their.State
                    && bitmap.GranularityBytes == their.GranularityBytes
                    && their.With(model.TargetSectors, bitmap.Sectors).IsSameAs(their.With(model.TargetSectors)),
                $"{context}: libvirt's {name} {their}\nours {bitmap}");
        }

        byte[] theirDisk = await DiskAsync(copied[top == 0 ? target : 0], folder);
        Assert.True(
            theirDisk.AsSpan().SequenceEqual(after),
            $"{context}: QEMU's guest sees another byte {theirDisk.AsSpan().CommonPrefixLength(after)}");
        return true;
    }

    private static async Task CommitAsync(IReadOnlyList<string> paths, int top, int target)
    {
        await using ChainCommit commit = await ChainCommit.OpenAsync(
            paths[0], new MergeOptions { TopPath = paths[top], BasePath = paths[target] }, cancellationToken: Token);
        await commit.RunAsync(cancellationToken: Token);
    }

    private static async Task CommitAsLibvirtAsync(CommitModel model, string[] paths)
    {
        string target = paths[model.Base];
        await Qemu.ImgOkAsync("commit", "-q", "-f", "qcow2", "-b", target, paths[model.Top]);
        foreach (string name in model.Layers[model.Top].Bitmaps.Keys)
        {
            IReadOnlyList<int> run = model.RunOf(name);
            if (run.Count > 0 && !model.Layers[model.Base].Bitmaps.ContainsKey(name))
            {
                await Qemu.ImgOkAsync(
                    "bitmap", "--add", "-g", model.Layers[model.Top].Bitmaps[name].GranularityBytes.ToString(CultureInfo.InvariantCulture),
                    "-f", "qcow2", target, name);
            }

            foreach (int i in run.Where(i => i < model.Base))
            {
                await Qemu.ImgOkAsync("bitmap", "--merge", name, "-b", paths[i], "-F", "qcow2", "-f", "qcow2", target, name);
            }
        }

        if (model.Top > 0)
        {
            await Qemu.ImgOkAsync("rebase", "-q", "-u", "-f", "qcow2", "-b", Path.GetFileName(target), "-F", "qcow2", paths[model.Top - 1]);
        }
    }

    private static void AssertSame(
        ImmutableSortedDictionary<string, CommitBitmap> expected, ImmutableSortedDictionary<string, CommitBitmap> actual, string context)
    {
        Assert.True(
            expected.Keys.SequenceEqual(actual.Keys),
            $"{context}: expected {string.Join(' ', expected.Keys)}, found {string.Join(' ', actual.Keys)}");
        foreach ((string name, CommitBitmap bitmap) in expected)
        {
            Assert.True(bitmap.IsSameAs(actual[name]), $"{context}\nexpected {name} {bitmap}\nfound    {name} {actual[name]}");
        }
    }

    private static async Task<byte[]> DiskAsync(string path, TempFolder folder)
    {
        string raw = folder.File("disk.raw");
        await Qemu.ImgOkAsync("convert", "-f", "qcow2", "-O", "raw", path, raw);
        return await File.ReadAllBytesAsync(raw, Token);
    }
}
