using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Images.Editing;
using Qcow2Bitmaps.Images.Naming;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

// Decisions: docs/decisions/backups.md.
/// <summary>The backup of one disk, from its start to the manifest.</summary>
internal sealed class DiskBackupRun : IAsyncDisposable
{
    private const int SectorBytes = 512;

    private readonly BackupDisk _disk;
    private readonly BackupOptions _options;
    private readonly ImageChain _chain;
    private readonly StoredBackup? _unfinished;
    private readonly List<BitmapChange> _changes = [];
    private IReadOnlyList<StoredBackup> _below = [];
    private BitmapVerdict? _verdict;
    private string? _missing;
    private BackupManifest _manifest = null!;
    private FormerBackups _former = null!;
    private DirtyBitmap? _copied;
    private long _keptBytes;
    private bool _isBegun;

    private DiskBackupRun(BackupDisk disk, BackupOptions options, ImageChain chain, StoredBackup? unfinished)
    {
        _disk = disk;
        _options = options;
        _chain = chain;
        _unfinished = unfinished;
    }

    public string ManifestPath => BackupPaths.ManifestOf(_disk.TargetPath);

    public long SizeBytes { get; private set; }

    /// <summary>Whether the backup is whole, under its name.</summary>
    public bool IsPlaced { get; private set; }

    /// <summary>Whether it copies only what a bitmap calls dirty.</summary>
    public bool IsIncremental { get; private set; }

    /// <summary>Whether the image that it makes has an unfinished beginning already.</summary>
    public bool IsResumed => _unfinished is not null;

    public BackupResult Result => new(new StoredBackup(ManifestPath, _manifest) { ImagePath = _disk.TargetPath }, _changes);

    private string Partial => BackupPaths.PartialOf(_disk.TargetPath);

    private string PartialManifest => BackupPaths.PartialOf(ManifestPath);

    private string Folder => BackupPaths.FolderOf(_disk.TargetPath);

    /// <summary>Those of the disk, and of the backup that it stands on.</summary>
    private FileRights Rights => _below.Count > 0 ? _chain.Rights.With(_below[0].ImagePath) : _chain.Rights;

    /// <summary>Whether the bitmap that it goes by records from its point on afterwards.</summary>
    private bool Clears => IsIncremental && _options.Checkpoint is null && _options.Mode != BitmapSyncMode.Never;

    /// <summary>
    /// Opens the disk with the locks that keep writers out, and clears away, or finishes, what a stop has left of a backup of that name.
    /// </summary>
    public static async ValueTask<DiskBackupRun> OpenAsync(BackupDisk disk, BackupOptions options, CancellationToken cancellationToken)
    {
        StoredBackup? unfinished = await UnfinishedBackup.FindAsync(disk, options, cancellationToken).ConfigureAwait(false);
        ImageChain chain = await ChainAccess.OpenAsync(
            disk.TopPath, options.Chain, look => WrittenLayersAsync(look, options, cancellationToken),
            cancellationToken).ConfigureAwait(false);
        return new DiskBackupRun(disk, options, chain, unfinished);
    }

    /// <summary>Checks all that can be refused, before anything is written; then rebuilds a bitmap, where that was asked for.</summary>
    /// <param name="set">What the backups of one call have in common; null for one alone.</param>
    /// <param name="writable">The images of all disks that are open for writing: an edit of several that
    /// was stopped is finished with them.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public async ValueTask PrepareAsync(string? set, IReadOnlyCollection<Qcow2Image> writable, CancellationToken cancellationToken)
    {
        SizeBytes = _chain.SizeBytes;
        if (SizeBytes % SectorBytes != 0)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Format, $"{_chain.Layers[0]}: the disk has {SizeBytes} bytes, not a multiple of {SectorBytes}");
        }

        RequireNames();
        await RequireCheckpointAsync(cancellationToken).ConfigureAwait(false);
        await FindMissingAsync(cancellationToken).ConfigureAwait(false);
        await RecoverJournalsAsync(writable, cancellationToken).ConfigureAwait(false);
        var identity = DiskIdentity.Of(_chain);
        bool isFull = _options.Since is null;
        if (_options.Since is { } since)
        {
            _verdict = await _chain.JudgeBitmapAsync(since, cancellationToken: cancellationToken).ConfigureAwait(false);
            if (!_verdict.IsValid && _options.Fallback == BackupFallback.None)
            {
                throw new BitmapStateException(_verdict);
            }

            isFull = !_verdict.IsValid && _options.Fallback == BackupFallback.Full;
            if (!isFull)
            {
                var search = new ParentSearch(since, identity, Folder);
                _below = await search.FindAsync(_disk.PreviousPath, _unfinished, cancellationToken).ConfigureAwait(false);
                _keptBytes = search.KeptBytes;
                InheritMissing(_below[0]);
                if (_unfinished is not null)
                {
                    InheritMissing(_unfinished);
                }
            }

            if (!isFull && !_verdict.IsValid)
            {
                ChainResult rebuilt = await new ChainPopulate(_chain, since).RunAsync(null, cancellationToken).ConfigureAwait(false);
                _changes.AddRange(rebuilt.Bitmaps);
                BitmapVerdict again = await _chain.JudgeBitmapAsync(since, cancellationToken: cancellationToken).ConfigureAwait(false);
                if (!again.IsValid)
                {
                    throw new BitmapStateException(again);
                }
            }
        }

        IsIncremental = !isFull;
        if (IsIncremental)
        {
            await DiskCourse.RequireSameAsync(
                _chain, identity, _below, _unfinished, _options.Since!, _keptBytes, cancellationToken).ConfigureAwait(false);
        }

        if (IsResumed
            && (!IsIncremental || !IsStandingOn(_unfinished!.Manifest, _below[0].Manifest) || _unfinished!.Manifest.SizeBytes != SizeBytes))
        {
            throw new BackupException(
                $"'{PartialManifest}' cannot be resumed: the disk has another size, or the backup is based on another one. "
                + $"A full backup is needed");
        }

        string id = _unfinished?.Manifest.Id ?? NewId();
        IReadOnlyList<string> anchors = _options.Checkpoint is { } checkpoint ? [checkpoint] : Clears ? [_options.Since!] : [];
        _former = await FormerBackups.FindAsync(Folder, identity, _below, cancellationToken).ConfigureAwait(false);
        _manifest = new BackupManifest
        {
            Id = id,
            Series = IsIncremental ? _below[0].Manifest.Series : id,
            Created = _former.Next(),
            Parents = IsIncremental
                ? [.. _below.Select(static backup => new BackupParent(backup.Manifest.Id, Path.GetFileName(backup.ManifestPath)))]
                : [],
            ImageFile = Path.GetFileName(_disk.TargetPath),
            ImageFormat = _options.IsRaw ? ImageFormat.Raw : ImageFormat.Qcow2,
            SizeBytes = SizeBytes,
            Source = identity.Paths,
            SourceFile = identity.TopFile,
            Bitmap = _options.Since,
            Fallback = _verdict is { IsValid: false } ? _options.Fallback : BackupFallback.None,
            Verdict = _verdict is { IsValid: false } verdict ? verdict.ToString() : null,
            Missing = _missing,
            Checkpoint = _options.Checkpoint,
            Anchors = anchors,
            Set = set,
            GroupBytes = BackupManifest.GroupBytesFor(SizeBytes),
        };
        if (_manifest.Parents.Count > ManifestJson.MaxParents)
        {
            throw new BackupException(
                $"The backup would be based on {_manifest.Parents.Count} others, at most {ManifestJson.MaxParents} are read: "
                + $"take a full backup, or one since an older checkpoint");
        }
    }

    /// <summary>Copies what is to be copied. Then the image is on disk, under the name of one that is not whole.</summary>
    public async ValueTask CopyAsync(IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        var groups = new List<BackupGroup>();
        var digests = new GroupDigests(_manifest.GroupBytes, SizeBytes, groups.Add);
        Disk disk = await _chain.PrepareAsync(cancellationToken).ConfigureAwait(false);
        ConversionOptions options = CopyOptions();
        CopyTarget target = await OpenTargetAsync(options, cancellationToken).ConfigureAwait(false);
        long dirty = 0;
        _isBegun = true;
        await using (target.ConfigureAwait(false))
        {
            var engine = new CopyEngine(target.Disk, options, progress, target.ZeroFromBytes);
            if (IsIncremental)
            {
                ICopyObserver observer = digests;
                if (_options.Mode == BitmapSyncMode.Always)
                {
                    _copied = new DirtyBitmap(SizeBytes, GroupDigests.BlockBytes);
                    observer = new CopiedRanges(digests, _copied);
                }

                var ranges = new CopyRanges(
                    BackupRanges.DirtyAsync(_chain, _options.Since!, _keptBytes, SizeBytes, bytes => dirty += bytes, cancellationToken));
                await using (ranges.ConfigureAwait(false))
                {
                    try
                    {
                        await engine.RunAsync(
                            new CopyScope(disk) { Ranges = ranges, Observer = observer }, cancellationToken).ConfigureAwait(false);
                    }
                    catch when (_options.Mode == BitmapSyncMode.Always)
                    {
                        // What it has is gone on with, if it can be made durable: a file's error is told
                        // once, and flushing it later would succeed.
                        (DirtyBitmap? copied, _copied) = (_copied, null);
                        await target.CompleteAsync([], CancellationToken.None).ConfigureAwait(false);
                        _copied = copied;
                        throw;
                    }
                }
            }
            else
            {
                await engine.RunAsync(new CopyScope(disk) { Observer = digests }, cancellationToken).ConfigureAwait(false);
            }

            _copied = null;
            await target.CompleteAsync([], cancellationToken).ConfigureAwait(false);
        }

        digests.Complete();
        await BackupTargetFile.FlushAsync(Partial).ConfigureAwait(false);
        if (IsResumed)
        {
            // Of what was there before no checksum is known.
            groups = [
                .. await LayerReplay.ReadGroupsAsync(
                    new StoredBackup(ManifestPath, _manifest).Unplaced, _options.Workers, progress: null,
                    cancellationToken).ConfigureAwait(false)];
        }

        _manifest = _manifest with { Groups = groups, DirtyBytes = IsIncremental ? dirty : null };
    }

    /// <summary>Gives the image and its manifest their names. Whoever finds the manifest finds a whole backup.</summary>
    public void Place()
    {
        _manifest = _manifest with { State = _manifest.Anchors.Count > 0 ? BackupState.Anchoring : BackupState.Complete };
        DurableFile.Replace(PartialManifest, ManifestJson.Write(_manifest), Rights);
        DurableFile.Rename(Partial, _disk.TargetPath);
        DurableFile.Move(PartialManifest, ManifestPath);
        IsPlaced = true;
        if (_manifest.Anchors.Count > 0)
        {
            DurableFile.FlushFolderOf(ManifestPath);
        }
        else
        {
            _ = Leftovers.Tidy(
                $"The backup is taken, but the name of '{ManifestPath}' may not survive a loss of power",
                () => DurableFile.FlushFolderOf(ManifestPath));
        }
    }

    /// <summary>Takes its anchors over from earlier backups. Until it is confirmed none is built on by them.</summary>
    public async ValueTask WithdrawFormerAsync()
    {
        foreach (string anchor in _manifest.Anchors)
        {
            await _former.WithdrawAsync(anchor, _manifest.Id, CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>Adds what is to be done to the disk's bitmaps at the backup's point.</summary>
    public void AddEdits(BitmapEditSet edits)
    {
        if (_options.Checkpoint is { } checkpoint)
        {
            edits.Add(_chain.Layers[0].RequireImage(), edit => edit.Add(checkpoint));
            _changes.Add(new BitmapChange(checkpoint, BitmapChangeKind.Added, _chain.Layers[0].Path));
        }
        else if (Clears)
        {
            foreach (ChainLayer layer in Holders())
            {
                edits.Add(layer.RequireImage(), edit => edit.Clear(_options.Since!));
                _changes.Add(new BitmapChange(_options.Since!, BitmapChangeKind.Cleared, layer.Path));
            }
        }
    }

    /// <summary>Says in the manifest whether its anchors record from its point on.</summary>
    /// <param name="isEdited">Whether the edit was made. A bitmap that was not cleared marks all that changes from here on, too.</param>
    public void Confirm(bool isEdited)
    {
        bool hasAnchors = isEdited || Clears;
        if (_manifest.State == BackupState.Anchoring)
        {
            _manifest = _manifest with
            {
                State = BackupState.Complete,
                Anchors = hasAnchors ? _manifest.Anchors : [],
                Checkpoint = hasAnchors ? _manifest.Checkpoint : null,
            };
            DurableFile.Replace(ManifestPath, ManifestJson.Write(_manifest), Rights);
        }
    }

    /// <summary>
    /// Removes what was made, as it is not whole; with <see cref="BitmapSyncMode.Always"/> keeps what was
    /// copied, and makes that clean in the bitmap.
    /// </summary>
    public async ValueTask AbandonAsync()
    {
        if (!_isBegun || IsPlaced)
        {
            return;
        }

        if (_copied is not null && DurableFile.Exists(Partial))
        {
            await UnfinishedBackup.KeepAsync(_disk, _manifest, _former, _chain, _copied).ConfigureAwait(false);
        }
        else if (!IsResumed)
        {
            FileNames.Delete(Partial);
        }
    }

    /// <summary>The images of the disk that are open for writing.</summary>
    public IEnumerable<Qcow2Image> Writable =>
        _chain.Layers.OfType<Qcow2Layer>().Where(static layer => layer.IsWritable).Select(static layer => layer.Image);

    public ValueTask DisposeAsync() => _chain.DisposeAsync();

    /// <summary>
    /// Which images have to be written: for a new checkpoint the top one, else those whose bitmap is
    /// cleared, and those where it is rebuilt.
    /// </summary>
    private static async ValueTask<IReadOnlyList<int>> WrittenLayersAsync(
        ImageChain look, BackupOptions options, CancellationToken cancellationToken)
    {
        IEnumerable<int> layers = options.Checkpoint is not null ? [0] : [];
        if (options.Since is { } since && ChainBitmaps.Holders(look, [since]).Any())
        {
            layers = options.Checkpoint is null && options.Mode != BitmapSyncMode.Never
                ? layers.Concat(ChainBitmaps.Holders(look, [since]))
                : layers;
            layers = options.Fallback == BackupFallback.Populate
                ? layers.Concat(await new ChainPopulate(look, since).FindWritableLayersAsync(cancellationToken).ConfigureAwait(false))
                : layers;
        }

        return [.. layers.Distinct()];
    }

    private static bool IsStandingOn(BackupManifest backup, BackupManifest below) =>
        backup.Parents.Count > 0 && string.Equals(backup.Parents[0].Id, below.Id, StringComparison.Ordinal);

    private static string NewId() => Guid.NewGuid().ToString("N");

    private IEnumerable<ChainLayer> Holders() => ChainBitmaps.Holders(_chain, [_options.Since!]).Select(index => _chain.Layers[index]);

    /// <summary>Refuses a disk of which something is missing, or notes what.</summary>
    private async ValueTask FindMissingAsync(CancellationToken cancellationToken)
    {
        IReadOnlyList<(ChainLayer Layer, FormatFault Fault)> found = await _chain.FindTruncationsAsync(
            cancellationToken: cancellationToken).ConfigureAwait(false);
        if (found.Count == 0)
        {
            return;
        }

        if (!_options.AcceptsMissing)
        {
            throw new Qcow2FormatException(found[0].Fault, found[0].Layer.Path);
        }

        if (found.FirstOrDefault(static one => one.Layer.IsWritable) is { Layer: { } written })
        {
            throw new BackupException(
                $"{written} ends before clusters that it names, and would be written: afterwards nobody could tell any more that something "
                + $"is missing. A full backup without a checkpoint writes nothing, nor does an incremental one that leaves the bitmap as "
                + $"it is");
        }

        _missing = string.Join("; ", found.Select(static one => $"{one.Layer}: {one.Fault}"));
        ChainDisk map = await _chain.OpenDataAsync(cancellationToken).ConfigureAwait(false);
        for (int depth = 0; depth < map.LayerCount; depth++)
        {
            if (map.DiskOf(depth) is { } disk)
            {
                disk.ReadsMissingAsZeros = true;
            }
        }
    }

    /// <summary>What was missing below, or in the unfinished one, is missing here too: no bitmap tells when it is there again.</summary>
    private void InheritMissing(StoredBackup earlier)
    {
        if (earlier.Manifest.Missing is { } missing && !_options.AcceptsMissing)
        {
            throw new BackupException(
                $"'{earlier.ManifestPath}' was taken of a disk of which something was missing ({missing}): take a full backup, "
                + $"or accept that it is missing here too");
        }

        _missing ??= earlier.Manifest.Missing;
    }

    /// <summary>A manifest is text: names that are not cannot stand in it.</summary>
    private void RequireNames()
    {
        string file = Path.GetFileName(_disk.TargetPath);
        foreach (string name in new[] { _options.Since, file }.OfType<string>())
        {
            if (ImageText.HasInvalidBytes(name) || !BackupPaths.IsFileName(BackupPaths.PartialOf(BackupPaths.ManifestOf(file))))
            {
                throw new Qcow2UnsupportedException(
                    UnsupportedReason.Format, $"'{name}' cannot be stored in a manifest: it is not UTF-8, or too long");
            }
        }
    }

    private async ValueTask RequireCheckpointAsync(CancellationToken cancellationToken)
    {
        if (_options.Checkpoint is not { } checkpoint)
        {
            return;
        }

        ChainLayer top = _chain.Layers[0];
        string? fault = top is RawLayer ? "it is raw" : top is Qcow2Layer { Image.Header.Version: < 3 } ? "it is of version 2" : null;
        if (fault is not null)
        {
            throw new BitmapStateException(checkpoint, $"Checkpoint '{checkpoint}' cannot start in {top}: {fault}, and holds no bitmaps");
        }

        foreach (int index in ChainBitmaps.Holders(_chain, [checkpoint]))
        {
            throw new BitmapStateException(
                checkpoint,
                $"Bitmap already exists: {checkpoint} (in {_chain.Layers[index]}); a checkpoint needs a name that no image of the chain "
                + $"has");
        }

        // All rules of the edit, before hours of copying.
        var plan = new EditPlan(top.RequireImage().Handle);
        await new BitmapEdit().Add(checkpoint).ApplyAsync(plan, cancellationToken).ConfigureAwait(false);
        plan.RequireStorable();
    }

    /// <summary>Finishes an edit of several images that was stopped, or refuses where that cannot be done here.</summary>
    private async ValueTask RecoverJournalsAsync(IReadOnlyCollection<Qcow2Image> writable, CancellationToken cancellationToken)
    {
        foreach (ChainLayer layer in _chain.Layers)
        {
            string journal = BitmapEditSet.JournalPathOf(layer.Path);
            if (layer is Qcow2Layer && DurableFile.Exists(journal))
            {
                await BitmapEditSet.RecoverAsync(journal, writable, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private ConversionOptions CopyOptions() => new()
    {
        IsQcow2 = !_options.IsRaw,
        Compress = _options.Compress,
        Workers = _options.Workers,
        SparseBytes = GroupDigests.BlockBytes,
        // All of it is flushed once, at the end; but what is gone on with holds what no bitmap marks any more.
        Flush = IsResumed,
        AppearsAtOnce = true,
        // What a backup holds is what was dirty; its checksums say so.
        HoldsZeros = true,
        // A backup is there for the day when the disk's blocks cannot be read.
        UsesReflinks = false,
        AllowedFolders = [Folder],
        Create = _options.IsRaw ? null : new Qcow2CreateOptions
        {
            SizeBytes = SizeBytes,
            BackingFile = IsIncremental
                ? StoredName.Of(_below[0].ImagePath, FileStorage.IdentityOf(_below[0].ImagePath), _disk.TargetPath)
                : null,
            BackingFormat = IsIncremental ? _below[0].Manifest.ImageFormat : null,
        },
    };

    /// <summary>Nobody else makes it, or its lock says so.</summary>
    private ValueTask<CopyTarget> OpenTargetAsync(ConversionOptions options, CancellationToken cancellationToken) => IsResumed
        ? CopyTarget.OpenAsync(Partial, SizeBytes, options with { TargetExists = true, TargetHasBacking = true }, cancellationToken)
        : CopyTarget.CreateAsync(Partial, SizeBytes, options, Rights, cancellationToken);
}
