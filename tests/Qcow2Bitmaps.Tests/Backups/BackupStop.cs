using Qcow2Bitmaps.Backups;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>What may be there when a backup of disks was stopped, and what is done then.</summary>
/// <param name="scenes">The disks, of a few MiB each, with a full backup whose checkpoint is 'c'.</param>
/// <param name="options">How the backup is taken.</param>
internal sealed class BackupStop(IReadOnlyList<BackupScene> scenes, BackupOptions options)
{
    public const string Target = "new";

    private readonly List<byte[]> _guests = [];
    private readonly List<string> _dirty = [];

    /// <summary>Whether a bitmap records from the backup's point on.</summary>
    public bool HasAnchor => options.Checkpoint is not null || options.Mode != BitmapSyncMode.Never;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Anchor => options.Checkpoint ?? options.Since!;

    /// <summary>Begins with the disks as they are now.</summary>
    public async Task RememberAsync()
    {
        foreach (BackupScene scene in scenes)
        {
            _guests.Add(await ReadDiskAsync(scene.Disk));
            _dirty.Add(await DirtyAsync(scene.Disk, "c"));
        }
    }

    public async Task<BackupManifest[]> TakeAsync(string name, BackupOptions how, IProgress<OperationProgress>? progress = null) =>
        [
            .. (await DiskBackup.TakeAsync(
                [.. scenes.Select(scene => new BackupDisk(scene.Disk, scene.Backup(name)))], how with { Workers = 1 }, progress,
                Token)).Select(static result => result.Manifest)];

    /// <summary>Looks at what a stop has left, and changes nothing.</summary>
    public async Task<BackupStage[]> LookAsync()
    {
        string[] names = scenes[0].Names();
        var stages = new List<BackupStage>();
        for (int i = 0; i < scenes.Count; i++)
        {
            stages.Add(await LookAsync(scenes[i], _guests[i], _dirty[i]));
        }

        // No checkpoint starts, and no bitmap is cleared, before the backups of all disks are whole; what has started
        // of a part of the disks only can be finished.
        bool[] anchored = [.. stages.Where(_ => HasAnchor).Select(static stage => stage >= BackupStage.NotConfirmed).Distinct()];
        Assert.True(
            !anchored.Contains(true) || !stages.Contains(BackupStage.NotTaken), "a checkpoint has started, and not all backups are taken");
        Assert.True(
            anchored.Length < 2 || Path.Exists(BitmapEditSet.JournalPathOf(scenes[0].Disk)),
            "some checkpoints have started, and nothing tells of the others");
        Assert.Equal(names, scenes[0].Names());
        return [.. stages];
    }

    /// <summary>Calls again, does what messages ask for, writes to the disks, and takes an incremental backup of that.</summary>
    public async Task GoOnAsync(BackupStage[] stages)
    {
        string last = Target;
        bool isSmall = HasAnchor;
        if (stages.All(static stage => stage == BackupStage.NotTaken) && !scenes.Any(static scene => IsWhole(scene)))
        {
            await TakeAsync(Target, options);
        }
        else
        {
            await Assert.ThrowsAsync<IOException>(() => TakeAsync(Target, options));
            await FinishAsync(stages);
            bool mustTakeAgain = stages.Contains(BackupStage.NotTaken)
                || (options.Checkpoint is not null && stages[0] == BackupStage.NotAnchored);
            isSmall &= mustTakeAgain || !stages.Contains(BackupStage.NotAnchored);
            for (int i = 0; i < scenes.Count; i++)
            {
                bool isToBeConfirmed = stages[i] == BackupStage.NotConfirmed
                    || (stages[i] == BackupStage.NotAnchored && options.Checkpoint is null);
                Assert.True(!isToBeConfirmed || (await VerifyAsync(scenes[i], Anchor)).IsConfirmed);
            }

            if (mustTakeAgain)
            {
                last = "again";
                await TakeAsync(last, options);
            }
        }

        for (int i = 0; i < scenes.Count; i++)
        {
            await AssertRestoresAsync(scenes[i], last, _guests[i]);
        }

        await WriteAndTakeNextAsync(last, isSmall ? 128 << 10 : int.MaxValue);
    }

    /// <summary>
    /// What <see cref="GoOnAsync"/> does, where a backup may be unfinished that has bits which no bitmap marks any more: beside
    /// it no other one is taken that lacks them.
    /// </summary>
    public async Task GoOnWithUnfinishedAsync()
    {
        BackupScene scene = scenes[0];
        string[] before = scene.Names();
        Exception? refused = await Record.ExceptionAsync(
            () => scene.TakeAsync("other", new BackupOptions { Since = options.Since, Mode = BitmapSyncMode.Never }));
        if (refused is null)
        {
            await AssertRestoresAsync(scene, "other", _guests[0]);
            scene.Names().Except(before).ToList().ForEach(name => File.Delete(Path.Combine(Path.GetDirectoryName(scene.Disk)!, name)));
        }
        else
        {
            Assert.IsType<BackupException>(refused);
        }

        Exception? again = await Record.ExceptionAsync(() => scene.TakeAsync(Target, options));
        if (again is not null)
        {
            Assert.IsType<IOException>(again);
            BackupManifest taken = (await DiskBackup.ListAsync(Path.GetDirectoryName(scene.Disk)!, Token)).Single(
                backup => backup.ManifestPath == BackupPaths.ManifestOf(scene.Backup(Target))).Manifest!;
            Assert.True(taken.State == BackupState.Complete || (await VerifyAsync(scene, Anchor)).IsConfirmed);
        }

        await AssertRestoresAsync(scene, Target, _guests[0]);
        await WriteAndTakeNextAsync(Target, int.MaxValue);
    }

    /// <summary>Throws away what a stop has left of the backup: what is taken on the one before is right, or refused.</summary>
    /// <returns>Whether it was taken.</returns>
    public async Task<bool> GoOnWithoutAsync()
    {
        string folder = Path.GetDirectoryName(scenes[0].Disk)!;
        if (Path.Exists(BitmapEditSet.JournalPathOf(scenes[0].Disk)))
        {
            return false;
        }

        foreach (string path in Directory.EnumerateFiles(folder, Target + "*").ToList())
        {
            File.Delete(path);
        }

        List<byte[]> bytes = await WriteAsync();
        try
        {
            await TakeAsync("next", new BackupOptions { Since = "c", Mode = BitmapSyncMode.Never });
        }
        catch (BackupException)
        {
            return false;
        }

        for (int i = 0; i < scenes.Count; i++)
        {
            await AssertRestoresAsync(scenes[i], "next", bytes[i]);
        }

        return true;
    }

    /// <summary>Writes to the disks, and takes an incremental backup.</summary>
    private async Task WriteAndTakeNextAsync(string last, int maxBytes)
    {
        List<byte[]> bytes = await WriteAsync();
        BackupManifest[] next = await TakeAsync("next", new BackupOptions { Since = Anchor, Mode = BitmapSyncMode.Never });
        for (int i = 0; i < scenes.Count; i++)
        {
            Assert.Equal(
                Path.GetFileName(BackupPaths.ManifestOf(scenes[i].Backup(HasAnchor ? last : "full"))), next[i].Parents[0].Manifest);
            Assert.InRange(next[i].DataBytes, 64 << 10, maxBytes);
            await AssertRestoresAsync(scenes[i], "next", bytes[i]);
        }
    }

    /// <summary>Writes the same to all disks.</summary>
    /// <returns>What is on them then.</returns>
    private async Task<List<byte[]>> WriteAsync()
    {
        var bytes = new List<byte[]>();
        for (int i = 0; i < scenes.Count; i++)
        {
            bytes.Add([.. _guests[i]]);
            bytes[i].AsSpan(300_000, 5000).Fill(9);
            await using ImageChain chain = await ImageChain.OpenAsync(scenes[i].Disk, new ChainOpenOptions { WritableLayers = [0] }, Token);
            await using Disk writer = await chain.OpenWriterAsync(Token);
            await writer.WriteAsync(300_000, bytes[i].AsMemory(300_000, 5000), Token);
        }

        return bytes;
    }

    /// <summary>Finishes what was begun: names of whole backups, and an edit of several disks.</summary>
    private async Task FinishAsync(BackupStage[] stages)
    {
        foreach (BackupScene scene in scenes.Where(static scene => IsWhole(scene)))
        {
            await Assert.ThrowsAsync<IOException>(() => scene.TakeAsync(Target, options));
        }

        if (Path.Exists(BitmapEditSet.JournalPathOf(scenes[0].Disk)))
        {
            // Whatever else is taken of these disks finishes it first, or leaves it.
            Exception? refused = await Record.ExceptionAsync(() => TakeAsync("other", new BackupOptions { Checkpoint = "other" }));
            Assert.True(refused is null, refused?.Message);
            Assert.False(Path.Exists(BitmapEditSet.JournalPathOf(scenes[0].Disk)), "the edit of several disks is not finished");
        }

        for (int i = 0; i < scenes.Count; i++)
        {
            stages[i] = await LookAsync(scenes[i], _guests[i], _dirty[i]);
        }

        Assert.Single(stages.Select(static stage => stage >= BackupStage.NotConfirmed).Distinct());
    }

    private async Task<BackupStage> LookAsync(BackupScene scene, byte[] guest, string dirty)
    {
        await using (ImageChain chain = await ImageChain.OpenAsync(scene.Disk, cancellationToken: Token))
        {
            CheckReport check = await chain.Layers[0].RequireImage().CheckAsync(Token);
            Assert.True(
                check is { Corruptions: 0, CheckErrors: 0 }, string.Join('\n', check.Findings.Select(static finding => finding.Message)));
            Assert.All(
                await chain.JudgeBitmapsAsync(cancellationToken: Token),
                static verdict => Assert.True(verdict.IsValid, verdict.ToString()));
        }

        Assert.Equal(guest, await ReadDiskAsync(scene.Disk));
        string now = await DirtyAsync(scene.Disk, "c");
        bool isCleared = now != dirty;
        Assert.True(
            !isCleared || (now.Length == 0 && options is { Since: "c", Checkpoint: null } && HasAnchor), $"'c' is {now}, was {dirty}");
        bool isAnchored = isCleared || (options.Checkpoint is { } checkpoint && await scene.HasBitmapAsync(checkpoint));
        if (options.Checkpoint is not null && isAnchored)
        {
            Assert.Equal("", await DirtyAsync(scene.Disk, options.Checkpoint));
        }

        IReadOnlyList<StoredBackup> listed = await DiskBackup.ListAsync(Path.GetDirectoryName(scene.Disk)!, Token);
        Assert.Null(listed.Single(backup => backup.ManifestPath == BackupPaths.ManifestOf(scene.Backup("full"))).Fault);
        string target = scene.Backup(Target);
        if (listed.SingleOrDefault(backup => backup.ManifestPath == BackupPaths.ManifestOf(target)) is { } taken)
        {
            // Whoever finds the manifest finds a whole backup.
            Assert.NotNull(taken.Manifest);
            BackupStage stage = taken.Manifest.State == BackupState.Complete ? BackupStage.Complete
                : isAnchored ? BackupStage.NotConfirmed
                : BackupStage.NotAnchored;
            Assert.Equal(stage == BackupStage.Complete, taken.Fault is null);
            Assert.True(stage != BackupStage.Complete || isAnchored || !HasAnchor, "it says that its anchors record, and they do not");
            await AssertRestoresAsync(scene, Target, guest);
            Assert.True((await DiskBackup.VerifyAsync(target, cancellationToken: Token)).IsGood);
            return stage;
        }

        Assert.False(isAnchored, "a checkpoint has started, or a bitmap was cleared, and there is no backup of that point");
        string manifest = BackupPaths.ManifestOf(target);
        foreach (string path in new[] { target, BackupPaths.PartialOf(target), BackupPaths.PartialOf(manifest) })
        {
            await Assert.ThrowsAnyAsync<Exception>(() => DiskBackup.VerifyAsync(path, cancellationToken: Token));
            await Assert.ThrowsAnyAsync<Exception>(
                () => DiskBackup.RestoreAsync(path, scene.Backup("r"), isRaw: true, cancellationToken: Token));
        }

        Assert.All(
            listed.Where(backup => backup.ManifestPath.StartsWith(manifest, StringComparison.Ordinal)),
            static backup => Assert.NotNull(backup.Fault));
        return BackupStage.NotTaken;
    }

    /// <summary>Whether a stop came between the two names of a whole backup.</summary>
    private static bool IsWhole(BackupScene scene) => Path.Exists(BackupPaths.PartialOf(BackupPaths.ManifestOf(scene.Backup(Target))));

    private static Task<BackupCheck> VerifyAsync(BackupScene scene, string since) => scene.VerifyAsync(Target, since);

    private static async Task AssertRestoresAsync(BackupScene scene, string name, byte[] expected)
    {
        string target = scene.Backup("restored");
        await DiskBackup.RestoreAsync(scene.Backup(name), target, isRaw: true, cancellationToken: Token);
        byte[] restored = await File.ReadAllBytesAsync(target, Token);
        File.Delete(target);
        Assert.True(restored.AsSpan().SequenceEqual(expected), $"'{name}' restores something else");
    }

    private static async Task<byte[]> ReadDiskAsync(string path)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(path, cancellationToken: Token);
        var disk = new byte[chain.SizeBytes];
        await chain.ReadAsync(0, disk, Token);
        return disk;
    }

    private static async Task<string> DirtyAsync(string path, string bitmap)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(path, cancellationToken: Token);
        List<DirtyExtent> extents = await chain.ReadExtentsAsync(bitmap, cancellationToken: Token).ToListAsync(Token);
        return string.Join(
            ' ', extents.Where(static extent => extent.IsDirty).Select(static extent => (extent.OffsetBytes, extent.LengthBytes)));
    }
}
