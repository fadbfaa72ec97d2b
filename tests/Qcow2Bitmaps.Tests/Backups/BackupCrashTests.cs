using System.Globalization;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>A whole backup, stopped at every write and every change of a name: the disk is right, no bitmap misses a change, nothing that is half there is trusted, and the same call again ends right.</summary>
public sealed class BackupCrashTests
{
    private const string Target = "new";
    private const int DiskBytes = 1 << 20;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>How far the stops got that were seen.</summary>
    private enum Outcome
    {
        NotTaken,
        NotAnchored,
        NotConfirmed,
        Complete,
    }

    [Theory]
    [InlineData(null, "d")]
    [InlineData("c", "d")]
    [InlineData("c", null)]
    public async Task WhereverABackupStopsNothingIsLostAndNothingIsTrustedThatIsNotWhole(string? since, string? checkpoint)
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder, "1M");
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 2 64k 192k", "write -z -u 512k 64k", "write -P 3 700k 1000");
        byte[] guest = await ReadDiskAsync(scene.Disk);
        string dirty = await DirtyAsync(scene.Disk, "c");
        var options = new BackupOptions { Since = since, Checkpoint = checkpoint };
        RecordedFolder recorded;
        using (recorded = new RecordedFolder(folder.Path))
        {
            await scene.TakeAsync(Target, options);
        }

        var seen = new SortedDictionary<Outcome, int>();
        int states = 0;
        foreach (FolderState state in recorded.States(seed: 6, samples: Properties.Factor))
        {
            recorded.GoTo(state);
            try
            {
                Outcome outcome = await LookAsync(scene, options, guest, dirty);
                seen[outcome] = seen.GetValueOrDefault(outcome) + 1;
                await GoOnAsync(scene, options, guest, outcome);
                states++;
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"{state}: {e.Message}", e);
            }
        }

        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{recorded.Count} steps, {states} states: {string.Join(", ", seen)}"));
        // Each moment of the order that is promised was seen.
        Assert.Equal(4, seen.Count);
        Assert.True(seen[Outcome.NotTaken] > 10, $"only {seen[Outcome.NotTaken]} states before the backup was whole");
    }

    /// <summary>Looks at what a stop has left, and changes nothing.</summary>
    private static async Task<Outcome> LookAsync(BackupScene scene, BackupOptions options, byte[] guest, string dirty)
    {
        string[] names = scene.Names();
        await using (ImageChain chain = await ImageChain.OpenAsync(scene.Disk, cancellationToken: Token))
        {
            CheckReport check = await chain.Layers[0].Image!.CheckAsync(Token);
            Assert.True(check is { Corruptions: 0, CheckErrors: 0 }, string.Join('\n', check.Findings.Select(static finding => finding.Message)));
            Assert.All(await chain.JudgeBitmapsAsync(cancellationToken: Token), static verdict => Assert.True(verdict.IsValid, verdict.ToString()));
        }

        Assert.Equal(guest, await ReadDiskAsync(scene.Disk));
        string now = await DirtyAsync(scene.Disk, "c");
        bool isCleared = now != dirty;
        Assert.True(!isCleared || (now.Length == 0 && options is { Since: "c", Checkpoint: null }), $"'c' is {now}, was {dirty}");
        bool isAnchored = isCleared || (options.Checkpoint is { } checkpoint && await scene.HasBitmapAsync(checkpoint));
        if (options.Checkpoint is not null && isAnchored)
        {
            Assert.Equal("", await DirtyAsync(scene.Disk, options.Checkpoint));
        }

        IReadOnlyList<ListedBackup> listed = await BackupListing.ReadAsync(Path.GetDirectoryName(scene.Disk)!, Token);
        Assert.Null(listed.Single(static backup => backup.ManifestPath.EndsWith("/full.backup.json", StringComparison.Ordinal)).Fault);
        Outcome outcome = Outcome.NotTaken;
        if (listed.SingleOrDefault(static backup => backup.ManifestPath.EndsWith($"/{Target}.backup.json", StringComparison.Ordinal)) is { } taken)
        {
            // Whoever finds the manifest finds a whole backup.
            Assert.NotNull(taken.Manifest);
            outcome = taken.Manifest.State == BackupState.Complete ? Outcome.Complete : isAnchored ? Outcome.NotConfirmed : Outcome.NotAnchored;
            Assert.Equal(outcome == Outcome.Complete, taken.Fault is null);
            Assert.True(outcome != Outcome.Complete || isAnchored, "it says that its anchors record, and they do not");
            await AssertRestoresAsync(scene, Target, guest);
            Assert.True((await BackupVerification.RunAsync(scene.Backup(Target), cancellationToken: Token)).IsGood);
        }
        else
        {
            Assert.False(isAnchored, "a checkpoint has started, or a bitmap was cleared, and there is no backup of that point");
            foreach (string name in new[] { Target, Target + ".partial", Target + ".backup.json.partial" })
            {
                await Assert.ThrowsAnyAsync<Exception>(() => BackupVerification.RunAsync(scene.Backup(name), cancellationToken: Token));
                await Assert.ThrowsAnyAsync<Exception>(() => BackupRestore.RunAsync(scene.Backup(name), scene.Backup("r"), isQcow2: false, cancellationToken: Token));
            }

            Assert.All(listed.Where(static backup => Path.GetFileName(backup.ManifestPath).StartsWith(Target, StringComparison.Ordinal)), static backup => Assert.NotNull(backup.Fault));
        }

        Assert.Equal(names, scene.Names());
        return outcome;
    }

    /// <summary>Calls again, does what messages ask for, writes to the disk, and takes an incremental backup of that.</summary>
    private static async Task GoOnAsync(BackupScene scene, BackupOptions options, byte[] guest, Outcome outcome)
    {
        string last = Target;
        string anchor = options.Checkpoint ?? options.Since!;
        switch (outcome)
        {
            case Outcome.NotTaken:
                await scene.TakeAsync(Target, options);
                await AssertRestoresAsync(scene, Target, guest);
                break;
            case Outcome.NotAnchored when options.Checkpoint is not null:
                // It is a good backup without a checkpoint: another one starts it.
                await Assert.ThrowsAsync<IOException>(() => scene.TakeAsync(Target, options));
                last = "again";
                await scene.TakeAsync(last, options);
                break;
            case Outcome.NotAnchored or Outcome.NotConfirmed:
                await Assert.ThrowsAsync<IOException>(() => scene.TakeAsync(Target, options));
                Assert.True((await scene.VerifyAsync(Target, anchor)).IsConfirmed);
                break;
            default:
                await Assert.ThrowsAsync<IOException>(() => scene.TakeAsync(Target, options));
                break;
        }

        byte[] bytes = [.. guest];
        bytes.AsSpan(300_000, 5000).Fill(9);
        await using (ImageChain chain = await ImageChain.OpenAsync(scene.Disk, new ChainOpenOptions { WritableLayers = [0] }, Token))
        await using (GuestWriter writer = await chain.OpenWriterAsync(Token))
        {
            await writer.WriteAsync(300_000, bytes.AsMemory(300_000, 5000), Token);
        }

        BackupManifest next = await scene.TakeAsync("next", new BackupOptions { Since = anchor, Mode = BackupMode.Never });
        Assert.Equal(last + ".backup.json", next.Parents[0].Manifest);
        Assert.InRange(next.DataBytes, 64 << 10, outcome == Outcome.NotAnchored ? DiskBytes : 128 << 10);
        await AssertRestoresAsync(scene, "next", bytes);
    }

    private static async Task AssertRestoresAsync(BackupScene scene, string name, byte[] expected)
    {
        string target = scene.Backup("restored");
        await BackupRestore.RunAsync(scene.Backup(name), target, isQcow2: false, workers: 1, cancellationToken: Token);
        byte[] restored = await File.ReadAllBytesAsync(target, Token);
        File.Delete(target);
        Assert.True(restored.AsSpan().SequenceEqual(expected), $"'{name}' restores something else");
    }

    private static async Task<byte[]> ReadDiskAsync(string path)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(path, cancellationToken: Token);
        var disk = new byte[DiskBytes];
        await chain.ReadAsync(0, disk, Token);
        return disk;
    }

    private static async Task<string> DirtyAsync(string path, string bitmap)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(path, cancellationToken: Token);
        List<DirtyExtent> extents = await chain.ReadExtentsAsync(bitmap, cancellationToken: Token).ToListAsync(Token);
        return string.Join(' ', extents.Where(static extent => extent.IsDirty).Select(static extent => (extent.OffsetBytes, extent.LengthBytes)));
    }
}
