using System.Globalization;
using System.Text;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>Manifests and images of backups that are damaged, or that somebody made to do harm.</summary>
public sealed class ManifestTests
{
    [Theory]
    [InlineData("\"image\": \"full\"", "\"image\": \"../disk.qcow2\"", "not the name of a file")]
    [InlineData("\"image\": \"full\"", "\"image\": \"/etc/passwd\"", "not the name of a file")]
    [InlineData("\"image\": \"full\"", "\"image\": \"..\"", "not the name of a file")]
    [InlineData("\"image\": \"full\"", "\"image\": \"gone\"", "missing")]
    [InlineData("\"image\": \"full\"", "\"image\": 7", "no manifest")]
    [InlineData("\"image-format\": \"qcow2\"", "\"image-format\": \"vmdk\"", "not qcow2 or raw")]
    [InlineData("\"size\": 8388608", "\"size\": -512", "not a multiple")]
    [InlineData("\"size\": 8388608", "\"size\": 99999999999999999999", "no manifest")]
    [InlineData("\"size\": 8388608", "\"size\": 4194304", "its disk has")]
    [InlineData("\"size\": 8388608", "\"size\": 9223372036854775296", "a disk has at most 9223372035781033984")]
    [InlineData("\"version\": 1", "\"version\": 2", "only 1 is read")]
    [InlineData("\"group-size\": 67108864", "\"group-size\": 1", "not a multiple")]
    [InlineData("\"offset\": 0", "\"offset\": 67108864", "not on the disk")]
    [InlineData("\"state\": \"complete\"", "\"state\": \"partial\"", "incomplete")]
    [InlineData(
        "\"parents\": []", "\"parents\": [{\"id\": \"00000000000000000000000000000000\", \"manifest\": \"../x\"}]",
        "not the name of a file")]
    [InlineData("\"parents\": []", "\"parents\": [{\"id\": \"00000000000000000000000000000000\", \"manifest\": \"x\"}]", "missing")]
    [InlineData(
        "\"parents\": []", "\"parents\": [{\"id\": \"00000000000000000000000000000000\", \"manifest\": \"full.backup.json\"}]",
        "is based on")]
    [InlineData("{", "", "no manifest")]
    public async Task WhatCannotBeIsRefused(string old, string now, string message)
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await FullAsync(folder);
        string path = scene.Backup("full.backup.json");
        string text = await File.ReadAllTextAsync(path, BackupScene.Token);
        int at = text.IndexOf(old, StringComparison.Ordinal);
        Assert.True(at >= 0, text);
        await File.WriteAllTextAsync(path, text[..at] + now + text[(at + old.Length)..], BackupScene.Token);
        await AssertRefusedAsync(scene, message);
    }

    [Fact]
    public async Task ACycleIsRefused()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await FullAsync(folder);
        string path = scene.Backup("full.backup.json");
        string text = await File.ReadAllTextAsync(path, BackupScene.Token);
        string id = (await DiskBackup.ListAsync(folder.Path, BackupScene.Token))[0].Manifest!.Id;
        await File.WriteAllTextAsync(
            path,
            text.Replace(
                "\"parents\": []", $$"""  "parents": [{"id": "{{id}}", "manifest": "full.backup.json"}]""", StringComparison.Ordinal),
            BackupScene.Token);
        await AssertRefusedAsync(scene, "contain a loop");
    }

    [Fact]
    public void GroupsThatHaveNoSumHoldTheMost()
    {
        const string Group = """{"offset": OFFSET, "data": 4611686018427387904, "zero": 4611686018427387904, "sha256": "SHA"}""";
        BackupManifest one = new()
        {
            Id = new string('0', 32),
            Series = new string('0', 32),
            ImageFile = "x",
            ImageFormat = "raw",
            SizeBytes = Disk.MaxSizeBytes,
            GroupBytes = 1L << 62,
        };
        string text = Encoding.UTF8.GetString(ManifestJson.Write(one));
        string group = Group.Replace("SHA", new string('0', 64), StringComparison.Ordinal);
        string groups = string.Join(
            ',',
            group.Replace("OFFSET", "0", StringComparison.Ordinal),
            group.Replace("OFFSET", "4611686018427387904", StringComparison.Ordinal));
        string hostile = text.Replace("\"groups\": []", $"\"groups\": [{groups}]", StringComparison.Ordinal);
        Assert.NotEqual(text, hostile);
        BackupManifest read = ManifestJson.Read("x.backup.json", Encoding.UTF8.GetBytes(hostile), withGroups: true);
        Assert.Equal((long.MaxValue, long.MaxValue), (read.DataBytes, read.ZeroBytes));
    }

    [Fact]
    public async Task SizesThatHaveNoSumAreRefusedLikeOthers()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await FullAsync(folder);
        await scene.TakeAsync("one", new BackupOptions { Since = "c" });
        foreach (string name in (string[])["full", "one"])
        {
            string path = scene.Backup($"{name}.backup.json");
            string text = await File.ReadAllTextAsync(path, BackupScene.Token);
            string now = text.Replace("\"size\": 8388608", $"\"size\": {Disk.MaxSizeBytes}", StringComparison.Ordinal);
            Assert.NotEqual(text, now);
            await File.WriteAllTextAsync(path, now, BackupScene.Token);
        }

        await AssertRefusedAsync(scene, "one", "its disk has");
    }

    [Fact]
    public async Task HugeAndDeepManifestsAreRefusedInLittleMemory()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await FullAsync(folder);
        string path = scene.Backup("full.backup.json");
        string text = await File.ReadAllTextAsync(path, BackupScene.Token);
        await File.WriteAllTextAsync(path, new string('[', 1 << 20), BackupScene.Token);
        await AssertRefusedAsync(scene, "no manifest");
        string group = text[text.IndexOf("{\n      \"offset\"", StringComparison.Ordinal)..(text.LastIndexOf(']') - 1)].TrimEnd();
        var many = new StringBuilder(text[..(text.LastIndexOf(']') - 1)].TrimEnd());
        for (int i = 0; i < 70_000; i++)
        {
            many.Append(CultureInfo.InvariantCulture, $",{{\"offset\":{i}}}");
        }

        await File.WriteAllTextAsync(path, many.Append("]}").ToString(), BackupScene.Token);
        await AssertRefusedAsync(scene, "at most 65536");
        Assert.NotEmpty(group);
        using (Microsoft.Win32.SafeHandles.SafeFileHandle file = File.OpenHandle(path, FileMode.Create, FileAccess.Write))
        {
            RandomAccess.SetLength(file, 1L << 40);
        }

        await AssertRefusedAsync(scene, "at most 16777216 are read");
    }

    /// <summary>Whatever a manifest says of itself, reading it takes a bounded multiple of the longest that is read.</summary>
    [Theory]
    [InlineData("huge", 100 << 20, 1 << 20)]
    [InlineData("groups", 1_000_000, 40 << 20)]
    [InlineData("deep", 16 << 20, 64 << 20)]
    [InlineData("objects", 16 << 20, 64 << 20)]
    [InlineData("names", 5_000_000, 256 << 20)]
    [InlineData("parents", 500_000, 128 << 20)]
    [InlineData("text", 16_000_000, 128 << 20)]
    [InlineData("members", 1_500_000, 256 << 20)]
    public async Task WhatAHostileManifestTakesIsBounded(string kind, int count, long maxBytes)
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await FullAsync(folder);
        string path = scene.Backup("full.backup.json");
        string text = await File.ReadAllTextAsync(path, BackupScene.Token);
        string hostile = kind switch
        {
            "huge" => text.Replace("\"verdict\": null", $"\"verdict\": \"{new string('x', count)}\"", StringComparison.Ordinal),
            "groups" =>
                $"{text[..(text.LastIndexOf(']') - 1)].TrimEnd()}{string.Concat(Enumerable.Repeat(",{\"offset\":67108864}", count))}]}}",
            "deep" => new string('[', count),
            "objects" => string.Concat(Enumerable.Repeat("{\"a\":", count / 5)),
            "names" =>
                text.Replace("\"anchors\": [", "\"anchors\": [" + string.Concat(Enumerable.Repeat("1,", count)), StringComparison.Ordinal),
            "parents" => text.Replace(
                "\"parents\": []", $"\"parents\": [{string.Join(',', Enumerable.Repeat("{\"id\":1}", count))}]", StringComparison.Ordinal),
            "text" => text.Replace("\"image\": \"full\"", $"\"image\": \"{new string('x', count)}\"", StringComparison.Ordinal),
            _ => text.Replace("\"format\"", string.Concat(Enumerable.Repeat("\"a\":0,", count)) + "\"format\"", StringComparison.Ordinal),
        };
        Assert.NotEqual(text, hostile);
        await File.WriteAllTextAsync(path, hostile, BackupScene.Token);
        if (kind == "members")
        {
            // Members that nobody asks for are no fault, and cost no more.
            Assert.True((await DiskBackup.VerifyAsync(scene.Backup("full"), cancellationToken: BackupScene.Token)).IsGood);
        }
        else
        {
            await AssertRefusedAsync(scene, "");
        }

        // Files complete their calls before they return: all of it runs on this thread.
        long before = GC.GetAllocatedBytesForCurrentThread();
        IReadOnlyList<StoredBackup> listed = await DiskBackup.ListAsync(folder.Path, BackupScene.Token);
        long taken = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.Equal(kind == "members", Assert.Single(listed).Fault is null);
        Assert.InRange(listed[0].Fault?.Length ?? 0, 0, 1000);
        TestContext.Current.TestOutputHelper?.WriteLine(
            string.Create(CultureInfo.InvariantCulture, $"{kind}: {taken} bytes allocated: {listed[0].Fault}"));
        Assert.InRange(taken, 0, maxBytes);
    }

    [Fact]
    public async Task ALinkOutOfTheFolderIsNotFollowed()
    {
        using var folder = TempFolder.InMemory();
        using var outside = TempFolder.InMemory();
        BackupScene scene = await FullAsync(folder);
        File.Move(scene.Backup("full"), outside.File("full"));
        File.CreateSymbolicLink(scene.Backup("full"), outside.File("full"));
        await Assert.ThrowsAsync<Qcow2UnsupportedException>(
            () => DiskBackup.VerifyAsync(scene.Backup("full"), cancellationToken: BackupScene.Token));
    }

    [Fact]
    public async Task DamageIsFoundWhereItIs()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder, "200M");
        await scene.WriteAsync("write -P 7 100M 1M");
        await scene.TakeAsync("full", new BackupOptions());
        byte[] image = await File.ReadAllBytesAsync(scene.Backup("full"), BackupScene.Token);
        image[image.AsSpan().IndexOf(Enumerable.Repeat((byte)7, 4096).ToArray())] ^= 1;
        await File.WriteAllBytesAsync(scene.Backup("full"), image, BackupScene.Token);
        BackupCheck check = await DiskBackup.VerifyAsync(scene.Backup("full"), cancellationToken: BackupScene.Token);
        Assert.False(check.IsGood);
        Assert.Equal(64L << 20, Assert.Single(check.Damage).OffsetBytes);
        ProcessResult verified = await Support.Cli.RunAsync("backup", "verify", scene.Backup("full"));
        Assert.Equal(1, verified.ExitCode);
        Assert.Contains("from byte 67108864", verified.Output, StringComparison.Ordinal);
        string[] before = scene.Names();
        BackupException refused = await Assert.ThrowsAsync<BackupException>(
            () => DiskBackup.RestoreAsync(scene.Backup("full"), scene.Backup("r"), isRaw: true, cancellationToken: BackupScene.Token));
        Assert.Contains("damaged from byte 67108864", refused.Message, StringComparison.Ordinal);
        Assert.Equal(before, scene.Names());
    }

    [Fact]
    public async Task ManifestsThatDoNotAgreeOnWhatTheyStandOnAreRefused()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await FullAsync(folder);
        await scene.TakeAsync("one", new BackupOptions { Since = "c" });
        await scene.TakeAsync("two", new BackupOptions { Since = "c" });
        string path = scene.Backup("one.backup.json");
        string text = await File.ReadAllTextAsync(path, BackupScene.Token);
        int start = text.IndexOf("\"parents\": [", StringComparison.Ordinal);
        int end = text.IndexOf(']', start);
        await File.WriteAllTextAsync(path, text[..start] + "\"parents\": [" + text[end..], BackupScene.Token);
        BackupException refused = await Assert.ThrowsAsync<BackupException>(
            () => DiskBackup.RestoreAsync(scene.Backup("two"), scene.Backup("r"), isRaw: true, cancellationToken: BackupScene.Token));
        Assert.Contains("do not agree", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnImageThatLacksWhatItsManifestKnowsIsDamaged()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder, "200M");
        await scene.TakeAsync("full", new BackupOptions());
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", scene.Backup("full"), "200M");
        BackupCheck check = await DiskBackup.VerifyAsync(scene.Backup("full"), cancellationToken: BackupScene.Token);
        Assert.False(check.IsGood);
        BackupException refused = await Assert.ThrowsAsync<BackupException>(
            () => DiskBackup.RestoreAsync(scene.Backup("full"), scene.Backup("r"), isRaw: true, cancellationToken: BackupScene.Token));
        Assert.Contains("is missing", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AListTellsWhatIsWrong()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await FullAsync(folder);
        await scene.WriteAsync("write -P 2 0 64k");
        await scene.TakeAsync("one", new BackupOptions { Since = "c", Checkpoint = "d" });
        Assert.Equal(0, (await Support.Cli.RunAsync("backup", "list", folder.Path)).ExitCode);
        File.Delete(scene.Backup("full.backup.json"));
        await File.WriteAllTextAsync(scene.Backup("x.backup.json"), "{}", BackupScene.Token);
        ProcessResult listed = await Support.Cli.RunAsync("backup", "list", folder.Path, "--output", "json");
        Assert.Equal(1, listed.ExitCode);
        Assert.Contains("which is missing", listed.Output, StringComparison.Ordinal);
        Assert.Contains("no manifest", listed.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AManifestThatMayNotBeReadHidesNoOther()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await FullAsync(folder);
        await scene.TakeAsync("one", new BackupOptions { Since = "c", Checkpoint = "d" });
        using var refused = new RefusingTrace(static path => path.EndsWith("/one.backup.json", StringComparison.Ordinal));
        IReadOnlyList<StoredBackup> listed = await DiskBackup.ListAsync(folder.Path, BackupScene.Token);
        Assert.Equal(["full.backup.json", "one.backup.json"], listed.Select(static backup => Path.GetFileName(backup.ManifestPath)));
        Assert.Null(listed[0].Fault);
        Assert.Contains("Permission denied", listed[1].Fault, StringComparison.Ordinal);
    }

    private static async Task<BackupScene> FullAsync(TempFolder folder)
    {
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        return scene;
    }

    private static Task AssertRefusedAsync(BackupScene scene, string message) => AssertRefusedAsync(scene, "full", message);

    private static async Task AssertRefusedAsync(BackupScene scene, string name, string message)
    {
        BackupException refused = await Assert.ThrowsAsync<BackupException>(
            () => DiskBackup.VerifyAsync(scene.Backup(name), cancellationToken: BackupScene.Token));
        Assert.Contains(message, refused.Message, StringComparison.Ordinal);
        string[] before = scene.Names();
        await Assert.ThrowsAsync<BackupException>(
            () => DiskBackup.RestoreAsync(scene.Backup(name), scene.Backup("r"), isRaw: true, cancellationToken: BackupScene.Token));
        Assert.Equal(before, scene.Names());
    }
}
