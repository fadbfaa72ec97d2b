using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

// Decisions: docs/decisions/backups.md.
/// <summary>What the backup of one disk holds, what it is based on, and its manifest, decided before anything is copied.</summary>
internal sealed class BackupPlan
{
    private readonly BackupSource _source;
    private readonly DiskIdentity _identity;
    private readonly List<BitmapChange> _changes = [];
    private BitmapVerdict? _verdict;
    private string? _missing;

    private BackupPlan(BackupSource source)
    {
        _source = source;
        _identity = DiskIdentity.Of(source.Chain);
    }

    /// <summary>What it is based on, the nearest first; empty of a full backup.</summary>
    public IReadOnlyList<StoredBackup> Below { get; private set; } = [];

    /// <summary>Up to where the disk has been all the time since the backup below, in bytes.</summary>
    public long KeptBytes { get; private set; }

    /// <summary>The backups of the disk that the folder has.</summary>
    public FormerBackups Former { get; private set; } = null!;

    /// <summary>The manifest, all but for what copying tells.</summary>
    public BackupManifest Manifest { get; private set; } = null!;

    /// <summary>What was done to bitmaps.</summary>
    public IReadOnlyList<BitmapChange> Changes => _changes;

    /// <summary>Whether it copies only what a bitmap marks.</summary>
    public bool IsIncremental => Below.Count > 0;

    /// <summary>Whether the bitmap that it uses records from its point on afterwards.</summary>
    public bool Clears => IsIncremental && Options.Checkpoint is null && Options.Mode != BitmapSyncMode.Never;

    /// <summary>Those of the disk, and of the backup that it is based on.</summary>
    public FileRights Rights => IsIncremental ? _source.Chain.Rights.With(Below[0].ImagePath) : _source.Chain.Rights;

    private BackupOptions Options => _source.Options;

    /// <summary>Checks everything that can be refused, before anything is written; then rebuilds a bitmap, if that was asked for.</summary>
    /// <param name="source">The disk.</param>
    /// <param name="set">The id shared by the backups of one call; null for a single one.</param>
    /// <param name="writable">The images of all disks that are open for writing.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public static async ValueTask<BackupPlan> MakeAsync(
        BackupSource source, string? set, IReadOnlyCollection<Qcow2Image> writable, CancellationToken cancellationToken)
    {
        var plan = new BackupPlan(source) { _missing = await source.CheckAsync(writable, cancellationToken).ConfigureAwait(false) };
        if (source.Options.Since is { } since)
        {
            await plan.FindBelowAsync(since, cancellationToken).ConfigureAwait(false);
        }

        plan.RequireResumable();
        plan.Former = await FormerBackups.FindAsync(
            source.Folder, plan._identity, plan.Below, cancellationToken).ConfigureAwait(false);
        plan.Manifest = plan.MakeManifest(set);
        if (plan.Below.Count > ManifestJson.MaxParents)
        {
            throw new BackupException(
                $"The backup would be based on {plan.Below.Count} others, at most {ManifestJson.MaxParents} are read: "
                + $"take a full backup, or one since an older checkpoint");
        }

        return plan;
    }

    /// <summary>Adds the changes of the disk's bitmaps at the backup's point.</summary>
    public void AddEdits(BitmapEditSet edits)
    {
        if (Options.Checkpoint is { } checkpoint)
        {
            edits.Add(_source.Chain.Layers[0].RequireImage(), edit => edit.Add(checkpoint));
            _changes.Add(new BitmapChange(checkpoint, BitmapChangeKind.Added, _source.Chain.Layers[0].Path));
        }
        else if (Clears)
        {
            foreach (int index in ChainBitmaps.Holders(_source.Chain, [Options.Since!]))
            {
                edits.Add(_source.Chain.Layers[index].RequireImage(), edit => edit.Clear(Options.Since!));
                _changes.Add(new BitmapChange(Options.Since!, BitmapChangeKind.Cleared, _source.Chain.Layers[index].Path));
            }
        }
    }

    /// <summary>Judges the bitmap, and finds the backup to build on, unless everything is copied.</summary>
    private async ValueTask FindBelowAsync(string since, CancellationToken cancellationToken)
    {
        _verdict = await _source.Chain.JudgeBitmapAsync(since, cancellationToken: cancellationToken).ConfigureAwait(false);
        if (!_verdict.IsValid && Options.Fallback != BackupFallback.Populate)
        {
            if (Options.Fallback == BackupFallback.None)
            {
                throw new BitmapStateException(_verdict);
            }

            return;
        }

        var search = new ParentSearch(since, _identity, _source.Folder);
        Below = await search.FindAsync(_source.Disk.PreviousPath, _source.Unfinished, cancellationToken).ConfigureAwait(false);
        KeptBytes = search.KeptBytes;
        InheritMissing(Below[0]);
        if (_source.Unfinished is { } unfinished)
        {
            InheritMissing(unfinished);
        }

        if (!_verdict.IsValid)
        {
            ChainResult rebuilt = await new ChainPopulate(_source.Chain, since).RunAsync(null, cancellationToken).ConfigureAwait(false);
            _changes.AddRange(rebuilt.Bitmaps);
            BitmapVerdict again = await _source.Chain.JudgeBitmapAsync(since, cancellationToken: cancellationToken).ConfigureAwait(false);
            if (!again.IsValid)
            {
                throw new BitmapStateException(again);
            }
        }

        await new DiskCourse(_source.Chain, _identity, since)
            .RequireSameAsync(Below, _source.Unfinished, KeptBytes, cancellationToken).ConfigureAwait(false);
    }

    private void RequireResumable()
    {
        if (_source.Unfinished is { Manifest: var begun }
            && (!IsIncremental
                || begun.SizeBytes != _source.Chain.SizeBytes
                || !string.Equals(begun.Parents.Count > 0 ? begun.Parents[0].Id : null, Below[0].Manifest.Id, StringComparison.Ordinal)))
        {
            throw new BackupException(
                $"'{_source.PartialManifestPath}' cannot be resumed: the disk has another size, or the backup is based on another one. "
                + $"A full backup is needed");
        }
    }

    private BackupManifest MakeManifest(string? set)
    {
        string id = _source.Unfinished?.Manifest.Id ?? Guid.NewGuid().ToString("N");
        return new BackupManifest
        {
            Id = id,
            Series = IsIncremental ? Below[0].Manifest.Series : id,
            Created = Former.Next(),
            Parents = [.. Below.Select(static backup => new BackupParent(backup.Manifest.Id, Path.GetFileName(backup.ManifestPath)))],
            ImageFile = Path.GetFileName(_source.Disk.TargetPath),
            ImageFormat = Options.IsRaw ? ImageFormat.Raw : ImageFormat.Qcow2,
            SizeBytes = _source.Chain.SizeBytes,
            Source = _identity.Paths,
            SourceFile = _identity.TopFile,
            Bitmap = Options.Since,
            Fallback = _verdict is { IsValid: false } ? Options.Fallback : BackupFallback.None,
            Verdict = _verdict is { IsValid: false } verdict ? verdict.ToString() : null,
            Missing = _missing,
            Checkpoint = Options.Checkpoint,
            Anchors = Options.Checkpoint is { } checkpoint ? [checkpoint] : Clears ? [Options.Since!] : [],
            Set = set,
            GroupBytes = BackupManifest.GroupBytesFor(_source.Chain.SizeBytes),
        };
    }

    /// <summary>
    /// Parts missing in the backup below, or in the unfinished one, are missing here too: no bitmap shows that they have reappeared.
    /// </summary>
    private void InheritMissing(StoredBackup earlier)
    {
        if (earlier.Manifest.Missing is { } missing && !Options.AcceptsMissing)
        {
            throw new BackupException(
                $"'{earlier.ManifestPath}' was taken of a disk of which something was missing ({missing}): take a full backup, "
                + $"or accept that it is missing here too");
        }

        _missing ??= earlier.Manifest.Missing;
    }
}
