using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Images.Naming;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>Copies what a backup holds into its image, which has the name of an incomplete one.</summary>
internal sealed class BackupCopy(BackupSource source, BackupPlan plan)
{
    private readonly List<BackupGroup> _groups = [];
    private DirtyBitmap? _copied;
    private long _dirtyBytes;
    private bool _isBegun;

    private bool IsResumed => source.Unfinished is not null;

    private long SizeBytes => plan.Manifest.SizeBytes;

    /// <summary>Copies. Then the image is on disk.</summary>
    /// <returns>The manifest with the checksums.</returns>
    public async ValueTask<BackupManifest> RunAsync(IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        var digests = new GroupDigests(plan.Manifest.GroupBytes, SizeBytes, _groups.Add);
        Disk disk = await source.Chain.PrepareAsync(cancellationToken).ConfigureAwait(false);
        ConversionOptions options = CopyOptions();
        CopyTarget target = await OpenTargetAsync(options, cancellationToken).ConfigureAwait(false);
        _isBegun = true;
        await using (target.ConfigureAwait(false))
        {
            var engine = new CopyEngine(target.Disk, options, progress, target.ZeroFromBytes);
            await (plan.IsIncremental
                ? CopyDirtyAsync(disk, engine, target, digests, cancellationToken)
                : engine.RunAsync(new CopyScope(disk) { Observer = digests }, cancellationToken)).ConfigureAwait(false);
            _copied = null;
            await target.CompleteAsync([], cancellationToken).ConfigureAwait(false);
        }

        digests.Complete();
        DurableFile.Flush(source.PartialPath);
        return plan.Manifest with
        {
            // Of what an incomplete backup has had before no checksum is known.
            Groups = IsResumed
                ? await LayerReplay.ReadGroupsAsync(
                    new StoredBackup(source.ManifestPath, plan.Manifest).Unplaced, source.Options.Workers, progress: null,
                    cancellationToken).ConfigureAwait(false)
                : _groups,
            DirtyBytes = plan.IsIncremental ? _dirtyBytes : null,
        };
    }

    /// <summary>
    /// Removes what was made, as it is not complete; with <see cref="BitmapSyncMode.Always"/> keeps what was copied, and makes that
    /// clean in the bitmap.
    /// </summary>
    public async ValueTask AbandonAsync()
    {
        if (_copied is not null && DurableFile.Exists(source.PartialPath))
        {
            await UnfinishedBackup.KeepAsync(source.Disk, plan.Manifest, plan.Former, source.Chain, _copied).ConfigureAwait(false);
        }
        else if (_isBegun && !IsResumed)
        {
            FileNames.Delete(source.PartialPath);
        }
    }

    /// <summary>Copies what the bitmap marks.</summary>
    private async Task CopyDirtyAsync(
        Disk disk, CopyEngine engine, CopyTarget target, GroupDigests digests, CancellationToken cancellationToken)
    {
        bool isKept = source.Options.Mode == BitmapSyncMode.Always;
        _copied = isKept ? new DirtyBitmap(SizeBytes, GroupDigests.BlockBytes) : null;
        var ranges = new CopyRanges(BackupRanges.DirtyAsync(
            source.Chain, source.Options.Since!, plan.KeptBytes, SizeBytes, bytes => _dirtyBytes += bytes, cancellationToken));
        await using (ranges.ConfigureAwait(false))
        {
            try
            {
                await engine.RunAsync(
                    new CopyScope(disk) { Ranges = ranges, Observer = _copied is null ? digests : new CopiedRanges(digests, _copied) },
                    cancellationToken).ConfigureAwait(false);
            }
            catch when (isKept)
            {
                // What it has is kept if it can be made durable: a file's error is told once, and flushing it later would succeed.
                (DirtyBitmap? copied, _copied) = (_copied, null);
                await target.CompleteAsync([], CancellationToken.None).ConfigureAwait(false);
                _copied = copied;
                throw;
            }
        }
    }

    private ConversionOptions CopyOptions() => new()
    {
        IsQcow2 = !source.Options.IsRaw,
        Compress = source.Options.Compress,
        Workers = source.Options.Workers,
        SparseBytes = GroupDigests.BlockBytes,
        // All of it is flushed once, at the end; but a resumed one holds what no bitmap marks any more.
        Flush = IsResumed,
        AppearsAtOnce = true,
        // What a backup holds is what was dirty; its checksums say so.
        HoldsZeros = true,
        // A backup must not share blocks with the disk, since it is needed when those become unreadable.
        UsesReflinks = false,
        AllowedFolders = [source.Folder],
        Create = source.Options.IsRaw ? null : new Qcow2CreateOptions
        {
            SizeBytes = SizeBytes,
            BackingFile = plan.IsIncremental
                ? StoredName.Of(plan.Below[0].ImagePath, FileStorage.IdentityOf(plan.Below[0].ImagePath), source.Disk.TargetPath)
                : null,
            BackingFormat = plan.IsIncremental ? plan.Below[0].Manifest.ImageFormat : null,
        },
    };

    /// <summary>Nobody else makes it, or its lock says so.</summary>
    private ValueTask<CopyTarget> OpenTargetAsync(ConversionOptions options, CancellationToken cancellationToken) => IsResumed
        ? CopyTarget.OpenAsync(
            source.PartialPath, SizeBytes, options with { TargetExists = true, TargetHasBacking = true }, cancellationToken)
        : CopyTarget.CreateAsync(source.PartialPath, SizeBytes, options, plan.Rights, cancellationToken);
}
