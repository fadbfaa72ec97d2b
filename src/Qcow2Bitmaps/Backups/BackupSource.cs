using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images.Editing;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>A disk to back up, open with the locks that keep writers out; and what refuses a backup of it.</summary>
internal sealed class BackupSource : IAsyncDisposable
{
    private const int SectorBytes = 512;

    private BackupSource(BackupDisk disk, BackupOptions options, ImageChain chain, StoredBackup? unfinished)
    {
        Disk = disk;
        Options = options;
        Chain = chain;
        Unfinished = unfinished;
    }

    public BackupDisk Disk { get; }

    public BackupOptions Options { get; }

    public ImageChain Chain { get; }

    /// <summary>The incomplete backup of that name that is resumed; null for none.</summary>
    public StoredBackup? Unfinished { get; }

    public string ManifestPath => BackupPaths.ManifestOf(Disk.TargetPath);

    public string PartialPath => BackupPaths.PartialOf(Disk.TargetPath);

    public string PartialManifestPath => BackupPaths.PartialOf(ManifestPath);

    public string Folder => BackupPaths.FolderOf(Disk.TargetPath);

    /// <summary>The images of the disk that are open for writing.</summary>
    public IEnumerable<Qcow2Image> Writable =>
        Chain.Layers.OfType<Qcow2Layer>().Where(static layer => layer.IsWritable).Select(static layer => layer.Image);

    /// <summary>Opens the disk with locks that exclude writers, and looks for an unfinished backup of that name to resume.</summary>
    public static async ValueTask<BackupSource> OpenAsync(BackupDisk disk, BackupOptions options, CancellationToken cancellationToken)
    {
        StoredBackup? unfinished = await UnfinishedBackup.FindAsync(disk, options, cancellationToken).ConfigureAwait(false);
        ImageChain chain = await ChainAccess.OpenAsync(
            disk.TopPath, options.Chain, look => WrittenLayersAsync(look, options, cancellationToken),
            cancellationToken).ConfigureAwait(false);
        return new BackupSource(disk, options, chain, unfinished);
    }

    /// <summary>Refuses what can be refused before anything is written; then finishes an edit that was interrupted.</summary>
    /// <param name="writable">The images of all disks that are open for writing: an edit of several is finished with them.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <returns>What of the disk is missing; null where it is whole.</returns>
    public async ValueTask<string?> CheckAsync(IReadOnlyCollection<Qcow2Image> writable, CancellationToken cancellationToken)
    {
        if (Chain.SizeBytes % SectorBytes != 0)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Format, $"{Chain.Layers[0]}: the disk has {Chain.SizeBytes} bytes, not a multiple of {SectorBytes}");
        }

        RequireNames();
        await RequireCheckpointAsync(cancellationToken).ConfigureAwait(false);
        string? missing = await FindMissingAsync(cancellationToken).ConfigureAwait(false);
        await RecoverJournalsAsync(writable, cancellationToken).ConfigureAwait(false);
        return missing;
    }

    public ValueTask DisposeAsync() => Chain.DisposeAsync();

    /// <summary>
    /// The images that must be written: for a new checkpoint the top one, otherwise those whose bitmap is cleared; and
    /// those where it is rebuilt.
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

    /// <summary>Refuses a disk of which something is missing, or says what, and has that read as zeros.</summary>
    /// <returns>What is missing; null where the disk is whole.</returns>
    private async ValueTask<string?> FindMissingAsync(CancellationToken cancellationToken)
    {
        ILookup<ChainLayer, FormatFault> found = await Chain.FindTruncationsAsync(
            cancellationToken: cancellationToken).ConfigureAwait(false);
        if (found.Count == 0)
        {
            return null;
        }

        if (!Options.AcceptsMissing)
        {
            throw new Qcow2FormatException(found.First().First(), found.First().Key.Path);
        }

        if (found.FirstOrDefault(static one => one.Key.IsWritable) is { Key: { } written })
        {
            throw new BackupException(
                $"{written} ends before clusters that it names, and would be written: afterwards nobody could tell any more that something "
                + $"is missing. A full backup without a checkpoint writes nothing, nor does an incremental one that leaves the bitmap as "
                + $"it is");
        }

        ChainDisk map = await Chain.OpenDataAsync(cancellationToken).ConfigureAwait(false);
        for (int depth = 0; depth < map.LayerCount; depth++)
        {
            if (map.DiskOf(depth) is { } disk)
            {
                disk.ReadsMissingAsZeros = true;
            }
        }

        return string.Join("; ", found.SelectMany(static one => one.Select(fault => $"{one.Key}: {fault}")));
    }

    /// <summary>A manifest is text, and cannot store names that are not.</summary>
    private void RequireNames()
    {
        string file = Path.GetFileName(Disk.TargetPath);
        foreach (string name in new[] { Options.Since, file }.OfType<string>())
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
        if (Options.Checkpoint is not { } checkpoint)
        {
            return;
        }

        ChainLayer top = Chain.Layers[0];
        string? fault = top is RawLayer ? "it is raw" : top is Qcow2Layer { Image.Header.Version: < 3 } ? "it is of version 2" : null;
        if (fault is not null)
        {
            throw new BitmapStateException(checkpoint, $"Checkpoint '{checkpoint}' cannot start in {top}: {fault}, and holds no bitmaps");
        }

        foreach (int index in ChainBitmaps.Holders(Chain, [checkpoint]))
        {
            throw new BitmapStateException(
                checkpoint,
                $"Bitmap already exists: {checkpoint} (in {Chain.Layers[index]}); a checkpoint needs a name that no image of the chain "
                + $"has");
        }

        // All rules of the edit, before hours of copying.
        var plan = new EditPlan(top.RequireImage().Handle);
        await new BitmapEdit().Add(checkpoint).ApplyAsync(plan, cancellationToken).ConfigureAwait(false);
        plan.RequireStorable();
    }

    /// <summary>Finishes an interrupted edit of several images, or throws if that is impossible here.</summary>
    private async ValueTask RecoverJournalsAsync(IReadOnlyCollection<Qcow2Image> writable, CancellationToken cancellationToken)
    {
        foreach (ChainLayer layer in Chain.Layers)
        {
            string journal = BitmapEditSet.JournalPathOf(layer.Path);
            if (layer is Qcow2Layer && DurableFile.Exists(journal))
            {
                await BitmapEditSet.RecoverAsync(journal, writable, cancellationToken).ConfigureAwait(false);
            }
        }
    }
}
