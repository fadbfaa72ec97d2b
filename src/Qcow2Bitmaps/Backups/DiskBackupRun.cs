using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>The backup of one disk, from its start to the confirmed manifest.</summary>
internal sealed class DiskBackupRun : IAsyncDisposable
{
    private readonly BackupSource _source;
    private BackupPlan _plan = null!;
    private BackupCopy? _copy;
    private BackupManifest _manifest = null!;

    private DiskBackupRun(BackupSource source) => _source = source;

    public string ManifestPath => _source.ManifestPath;

    public long SizeBytes => _source.Chain.SizeBytes;

    public IEnumerable<Qcow2Image> Writable => _source.Writable;

    /// <summary>Whether the backup is complete, under its name.</summary>
    public bool IsPlaced { get; private set; }

    public StoredBackup Result => new(ManifestPath, _manifest)
    {
        ImagePath = _source.Disk.TargetPath,
        BitmapChanges = _plan.Changes,
    };

    /// <inheritdoc cref="BackupSource.OpenAsync"/>
    public static async ValueTask<DiskBackupRun> OpenAsync(BackupDisk disk, BackupOptions options, CancellationToken cancellationToken) =>
        new(await BackupSource.OpenAsync(disk, options, cancellationToken).ConfigureAwait(false));

    /// <inheritdoc cref="BackupPlan.MakeAsync"/>
    public async ValueTask PrepareAsync(string? set, IReadOnlyCollection<Qcow2Image> writable, CancellationToken cancellationToken)
    {
        _plan = await BackupPlan.MakeAsync(_source, set, writable, cancellationToken).ConfigureAwait(false);
        _copy = new BackupCopy(_source, _plan);
    }

    /// <inheritdoc cref="BackupCopy.RunAsync"/>
    public async ValueTask CopyAsync(IProgress<OperationProgress>? progress, CancellationToken cancellationToken) =>
        _manifest = await _copy!.RunAsync(progress, cancellationToken).ConfigureAwait(false);

    /// <summary>Renames the image and its manifest to their final names. A manifest that exists stands for a complete backup.</summary>
    public void Place()
    {
        _manifest = _manifest with { State = _manifest.Anchors.Count > 0 ? BackupState.Anchoring : BackupState.Complete };
        DurableFile.Replace(_source.PartialManifestPath, ManifestJson.Write(_manifest), _plan.Rights);
        DurableFile.Rename(_source.PartialPath, _source.Disk.TargetPath);
        DurableFile.Move(_source.PartialManifestPath, ManifestPath);
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

    /// <summary>
    /// Removes its anchors from earlier backups. Until it is confirmed, no backup can be based on another by those bitmaps.
    /// </summary>
    public async ValueTask WithdrawFormerAsync()
    {
        foreach (string anchor in _manifest.Anchors)
        {
            await _plan.Former.WithdrawAsync(anchor, _manifest.Id, CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <inheritdoc cref="BackupPlan.AddEdits"/>
    public void AddEdits(BitmapEditSet edits) => _plan.AddEdits(edits);

    /// <summary>Says in the manifest whether its anchors record from its point on.</summary>
    /// <param name="isEdited">Whether the edit was made. A bitmap that was not cleared also marks all later changes.</param>
    public void Confirm(bool isEdited)
    {
        bool hasAnchors = isEdited || _plan.Clears;
        if (_manifest.State == BackupState.Anchoring)
        {
            _manifest = _manifest with
            {
                State = BackupState.Complete,
                Anchors = hasAnchors ? _manifest.Anchors : [],
                Checkpoint = hasAnchors ? _manifest.Checkpoint : null,
            };
            DurableFile.Replace(ManifestPath, ManifestJson.Write(_manifest), _plan.Rights);
        }
    }

    /// <inheritdoc cref="BackupCopy.AbandonAsync"/>
    public ValueTask AbandonAsync() => _copy is null || IsPlaced ? ValueTask.CompletedTask : _copy.AbandonAsync();

    public ValueTask DisposeAsync() => _source.DisposeAsync();
}
