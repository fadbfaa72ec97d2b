using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Editing;

/// <summary>
/// An edit whose new structures are durable but not yet in use: the switch, and the freeing of what it replaces, remain to be done.
/// </summary>
internal sealed class PreparedEdit
{
    private readonly ImageHandle _image;
    private readonly ImageStorage _storage;
    private readonly ImageContents _contents;
    private readonly ImageGeometry _geometry;
    private readonly EditPlan _plan;
    private readonly MetadataWriter _writer;
    private readonly List<ulong> _sharedClusters = [];
    private BitmapsExtension? _target;

    private PreparedEdit(ImageHandle image, EditPlan plan, MetadataWriter writer)
    {
        _image = image;
        _storage = image.Storage;
        _contents = image.Contents;
        _geometry = _contents.First.Header.Geometry;
        _plan = plan;
        _writer = writer;
    }

    /// <summary>The pending transaction: to be switched or rolled back.</summary>
    public MetadataTransaction Transaction { get; private set; } = null!;

    /// <summary>The bitmap directory in use, and the new one: offsets and lengths in bytes.</summary>
    public IEnumerable<(long Offset, int LengthBytes)> Directories =>
        new[] { _contents.First.Bitmaps, _target }.OfType<BitmapsExtension>().Select(
            static extension => ((long)extension.DirectoryOffset, (int)extension.DirectorySizeBytes));

    /// <summary>Applies the steps in memory, and writes what they need to free clusters.</summary>
    /// <returns>The prepared edit; null if the steps change nothing.</returns>
    /// <exception cref="Qcow2Exception">The edit is refused, or there is no space; the image is unchanged.</exception>
    /// <exception cref="IOException">The storage failed; the image is unchanged, perhaps with leaked clusters.</exception>
    public static async ValueTask<PreparedEdit?> PrepareAsync(
        ImageHandle image, Func<EditPlan, CancellationToken, ValueTask> steps, CancellationToken cancellationToken)
    {
        await CountRepair.RunIfDirtyAsync(image, cancellationToken).ConfigureAwait(false);
        var plan = new EditPlan(image);
        await steps(plan, cancellationToken).ConfigureAwait(false);
        plan.RequireStorable();
        MetadataWriter writer = await MetadataWriter.BeginAsync(
            image.Storage, image.Contents, image.Limits, cancellationToken).ConfigureAwait(false);
        var prepared = new PreparedEdit(image, plan, writer);
        try
        {
            prepared.Transaction = await MetadataTransaction.PrepareAsync(
                image.Storage, () => prepared.WriteAsync(cancellationToken), prepared.RollBackAsync).ConfigureAwait(false);
        }
        catch (NoSpaceException e)
        {
            throw await VolumeRoom.DescribeAsync(
                image, e, copy => BitmapEditing.RunAsync(copy, steps, cancellationToken)).ConfigureAwait(false);
        }

        if (!prepared.Transaction.Plan.IsEmpty)
        {
            return prepared;
        }

        await prepared.Transaction.RollBackAsync().ConfigureAwait(false);
        return null;
    }

    /// <summary>Frees what the switch replaced; clusters are leaked if the storage fails.</summary>
    public async ValueTask ReleaseAsync() => _ = await Leftovers.TidyAsync(
        $"'{_image.Name}': its bitmaps are changed, but clusters of the old ones stay counted (a repair of leaks gives them back)",
        () => _writer.ReleaseAsync(AddUsed, CancellationToken.None)).ConfigureAwait(false);

    private void AddUsed(LiveMetadata live)
    {
        if (_target is { } extension)
        {
            live.Add("the bitmap directory", extension.DirectoryOffset, (long)extension.DirectorySizeBytes);
        }

        foreach (BitmapDraft draft in _plan.Bitmaps)
        {
            live.Add("the table of a bitmap", draft.TableOffset, ImageGeometry.BytesOfEntries(draft.TableEntries));
        }

        foreach (ulong offset in _sharedClusters)
        {
            live.Add("bits of a bitmap", offset, _geometry.ClusterSizeBytes);
        }

        foreach ((ulong offset, long bytes) in _plan.Kept)
        {
            live.Add("a structure in use", offset, bytes);
        }
    }

    private async ValueTask RollBackAsync()
    {
        try
        {
            await _writer.RollBackAsync(CancellationToken.None).ConfigureAwait(false);
        }
        catch
        {
            // A moved refcount table may stay at its new offset.
            await _image.ReloadAfterSwitchAsync().ConfigureAwait(false);
            throw;
        }
    }

    private async ValueTask<SwitchPlan> WriteAsync(CancellationToken cancellationToken)
    {
        await WriteBitmapsAsync(cancellationToken).ConfigureAwait(false);
        byte[] directory = BuildDirectory();
        if (await IsStoredAsync(directory, cancellationToken).ConfigureAwait(false))
        {
            return new SwitchPlan([]);
        }

        if (directory.Length > 0)
        {
            HostOffset offset = await _writer.AllocateAsync(directory.Length, cancellationToken).ConfigureAwait(false);
            await _writer.WriteAsync(offset, directory, cancellationToken).ConfigureAwait(false);
            _target = new BitmapsExtension((uint)_plan.Bitmaps.Count, 0, (ulong)directory.Length, offset.Raw);
        }

        await FreeReplacedAsync(cancellationToken).ConfigureAwait(false);
        // Refuses before any reference count is changed.
        HeaderChange change = new HeaderChange().SetBitmaps(_target);
        SwitchPlan plan = await change.PlanAsync(_storage, _contents.First.Header, cancellationToken).ConfigureAwait(false);
        await _writer.PrepareAsync(cancellationToken).ConfigureAwait(false);
        // A refcount table that was moved has changed the header.
        return _writer.HasMovedRefcountTable
            ? await change.PlanAsync(_storage, _contents.First.Header, cancellationToken).ConfigureAwait(false)
            : plan;
    }

    private async ValueTask WriteBitmapsAsync(CancellationToken cancellationToken)
    {
        if (await _writer.IsCutShortAsync(cancellationToken).ConfigureAwait(false))
        {
            await _plan.KeepMissingBitsDirtyAsync(cancellationToken).ConfigureAwait(false);
        }

        BitmapTableWriter? tables = null;
        // A bitmap that was merged into another one, and not changed afterwards, is written before that one, which then reads the written
        // bits: a chain of merges processes each page once.
        foreach (BitmapDraft draft in _plan.Bitmaps.Where(static draft => draft.IsContentChanged).OrderBy(static draft => draft.LastChange))
        {
            tables ??= new BitmapTableWriter(_writer, _geometry);
            ulong[] table = await tables.WriteBitsAsync(draft.Content!, cancellationToken).ConfigureAwait(false);
            draft.Content!.SetWritten(
                PersistentBitmap.OfTable(_storage, draft.Name, BitmapGeometry.Of(draft.Content), table, _image.NewLog()));
            ulong[] stored = draft.Stored is { } info ? await ReadTableAsync(info, cancellationToken).ConfigureAwait(false) : [];
            if (table.AsSpan().SequenceEqual(stored))
            {
                draft.IsContentChanged = false;
                continue;
            }

            draft.TableOffset = (await tables.WriteTableAsync(table, cancellationToken).ConfigureAwait(false)).Raw;
            draft.TableEntries = (uint)table.Length;
            draft.Table = table;
        }
    }

    private ValueTask<ulong[]> ReadTableAsync(BitmapInfo bitmap, CancellationToken cancellationToken) =>
        BigEndianTable.ReadAsync(_storage, bitmap.TableOffset, bitmap.TableEntries, cancellationToken);

    private byte[] BuildDirectory()
    {
        using var directory = new ArrayPoolBufferWriter<byte>();
        foreach (BitmapDraft draft in _plan.Bitmaps)
        {
            var entry = new BitmapDirectoryEntry
            {
                TableOffset = draft.TableOffset,
                TableEntries = draft.TableEntries,
                Flags = draft.Flags,
                Type = BitmapDirectoryEntry.DirtyTrackingType,
                GranularityBits = (byte)draft.GranularityBits,
                Name = ImageText.Encode(draft.Name),
            };
            directory.Advance(entry.Write(directory.GetSpan(entry.SizeBytes)));
        }

        return directory.WrittenSpan.ToArray();
    }

    private async ValueTask<bool> IsStoredAsync(byte[] directory, CancellationToken cancellationToken)
    {
        bool isPublished = _contents.First.Header.AutoclearFeatures.HasFlag(AutoclearFeatures.Bitmaps);
        if (_contents.First.Bitmaps is not { } extension)
        {
            return directory.Length == 0 && !isPublished && !_plan.IsMended;
        }

        if (!isPublished || extension.DirectorySizeBytes != (ulong)directory.Length || extension.BitmapCount != (uint)_plan.Bitmaps.Count)
        {
            return false;
        }

        var stored = new byte[directory.Length];
        await _storage.ReadZeroFilledAsync((long)extension.DirectoryOffset, stored, cancellationToken).ConfigureAwait(false);
        return stored.AsSpan().SequenceEqual(directory);
    }

    /// <summary>
    /// Lists what the switch makes superfluous: the directory, tables that were replaced or removed, and the clusters
    /// of bits that no new table has taken over.
    /// </summary>
    private async ValueTask FreeReplacedAsync(CancellationToken cancellationToken)
    {
        if (_contents.First.Bitmaps is not { } extension || !_contents.First.Header.AutoclearFeatures.HasFlag(AutoclearFeatures.Bitmaps))
        {
            // Ignored bitmaps: their clusters may no longer belong to them.
            return;
        }

        if (_contents.Bitmaps.OwnedBytes > 0)
        {
            _writer.Free(extension.DirectoryOffset, _contents.Bitmaps.OwnedBytes);
        }

        var remaining = _plan.Bitmaps.Where(static draft => draft.Stored is not null).ToDictionary(static draft => draft.Stored!);
        // Two entries of a broken table may refer to one cluster: it stays while one of them does.
        var kept = _plan.Bitmaps.SelectMany(static draft => draft.Table ?? []).ToHashSet();
        var freedTables = new HashSet<ulong>();
        var freedClusters = new HashSet<ulong>();
        foreach (BitmapInfo bitmap in _contents.Bitmaps.Bitmaps)
        {
            BitmapDraft? draft = remaining.GetValueOrDefault(bitmap);
            if (draft is { IsContentChanged: false }
                || bitmap.Faults.Count > 0
                || bitmap.TableOffset > Faults.MaxOffset
                || !freedTables.Add(bitmap.TableOffset))
            {
                continue;
            }

            ulong[] table = await ReadTableAsync(bitmap, cancellationToken).ConfigureAwait(false);
            foreach (ulong raw in table)
            {
                var entry = new BitmapTableEntry(raw);
                if (!kept.Contains(entry.Raw) && entry.HasData && entry.Check(_geometry.ClusterBits) == FaultCode.None)
                {
                    _writer.Free(entry.Offset, _geometry.ClusterSizeBytes);
                    freedClusters.Add(entry.Offset);
                }
            }

            _writer.Free(bitmap.TableOffset, bitmap.TableBytes);
        }

        if (freedClusters.Count > 0)
        {
            await FindSharedAsync(freedClusters, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Finds clusters to be freed that other bitmaps also use. QEMU opens such images, and their counts need not show
    /// it.</summary>
    private async ValueTask FindSharedAsync(HashSet<ulong> freedClusters, CancellationToken cancellationToken)
    {
        foreach (BitmapDraft draft
            in _plan.Bitmaps.Where(static draft => draft.Stored is not null && draft.TableOffset <= Faults.MaxOffset))
        {
            foreach (ulong raw in draft.Table ?? await ReadTableAsync(draft.Stored!, cancellationToken).ConfigureAwait(false))
            {
                var entry = new BitmapTableEntry(raw);
                if (entry.HasData && freedClusters.Remove(entry.Offset))
                {
                    _sharedClusters.Add(entry.Offset);
                }
            }
        }
    }
}
