using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Images.Editing;

// Decisions: docs/decisions/images-editing.md.
/// <summary>The bitmaps of an image while the steps of an edit are applied, in memory: every rule on states and limits is here.</summary>
/// <remarks>Rules and wording are those of QEMU's monitor commands and of <c>qemu-img bitmap</c>. Not thread-safe.</remarks>
internal sealed class EditPlan
{
    private const long MinRewrittenTableBytes = 16 << 20;
    private const string NoRoomInDirectory = "Not enough space in the bitmap directory";

    private readonly ImageHandle _image;
    private readonly List<BitmapDraft> _drafts = [];
    private readonly Dictionary<string, BitmapDraft> _byName = new(StringComparer.Ordinal);
    private long _directoryBytes;
    private long _changes;

    public EditPlan(ImageHandle image)
    {
        _image = image;
        if (!image.Header.AutoclearFeatures.HasFlag(AutoclearFeatures.Bitmaps))
        {
            // The image was written while the extension was ignored: its bitmaps must not become valid again.
            return;
        }

        foreach (BitmapInfo bitmap in image.Contents.Bitmaps.Bitmaps)
        {
            Append(new BitmapDraft
            {
                Name = bitmap.Name,
                GranularityBits = bitmap.GranularityBytes > 0 ? System.Numerics.BitOperations.Log2((ulong)bitmap.GranularityBytes) : 0,
                Flags = bitmap.Flags,
                Stored = bitmap,
                TableOffset = bitmap.TableOffset,
                TableEntries = bitmap.TableEntries,
            });
        }
    }

    public IReadOnlyList<BitmapDraft> Bitmaps => _drafts;

    /// <summary>What the edit must not free because something else also uses it: offsets and lengths in bytes. Filled only by
    /// repairs.</summary>
    public HashSet<(ulong Offset, long Bytes)> Kept { get; } = [];

    /// <summary>The most bytes of tables that are written anew unasked: tables that do not overlap are no longer than the file.</summary>
    public static long RewritableTableBytes(ImageHandle image) => Math.Max(image.Storage.Length, MinRewrittenTableBytes);

    /// <summary>Whether broken entries were dropped, so that the remaining list is complete.</summary>
    public bool IsMended { get; private set; }

    public void Add(string name, long? granularityBytes, bool isRecording)
    {
        if (_image.Header.Version < 3)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.BitmapsInVersion2, CannotPersist(name, "Cannot store dirty bitmaps in qcow2 v2 files"));
        }

        if (Find(name) is not null)
        {
            throw new BitmapStateException(name, $"Bitmap already exists: {name}");
        }

        int granularityBits = BitmapGranularity.BitsOf(
            granularityBytes ?? BitmapGranularity.DefaultBytes(_image.Geometry.ClusterSizeBytes));
        RequireRoom(name, granularityBits);
        Append(new BitmapDraft
        {
            Name = name,
            GranularityBits = granularityBits,
            Flags = isRecording ? BitmapFlags.Auto : BitmapFlags.None,
            Content = new EditedContent(GeometryOf(granularityBits), null),
            IsContentChanged = true,
            LastChange = ++_changes,
        });
    }

    /// <summary>Removes a bitmap, even an inconsistent one.</summary>
    public void Remove(string name)
    {
        BitmapDraft draft = Require(name);
        RemoveWhere(other => other == draft);
    }

    /// <summary>Removes all bitmaps of a name; QEMU accepts a second one that is in use.</summary>
    public void RemoveNamed(string name) => RemoveWhere(other => string.Equals(other.Name, name, StringComparison.Ordinal));

    public void RemoveAll() => RemoveWhere(static _ => true);

    /// <summary>Drops what a lenient reader found to be broken: entries that QEMU refuses, and all bitmaps that share a name.</summary>
    public void DropBroken()
    {
        IsMended = true;
        var names = _drafts
            .Where(static draft => draft.Stored?.Faults.Any(static fault => fault.Code == FaultCode.BitmapDuplicateName) == true)
            .Select(static draft => draft.Name)
            .ToHashSet(StringComparer.Ordinal);
        RemoveWhere(draft => draft.Stored?.Faults.Count > 0 || names.Contains(draft.Name));
    }

    public void MarkInUse() => _drafts.ForEach(static draft => draft.Flags |= BitmapFlags.InUse);

    /// <summary>Stores a bitmap's state from memory, for the session that keeps it there.</summary>
    public void Store(string name, DirtyBitmap bits, bool isRecording, bool isChanged)
    {
        int granularityBits = BitmapGranularity.BitsOf(bits.GranularityBytes);
        if (Find(name) is { } other && other.GranularityBits != granularityBits)
        {
            Remove(name);
        }

        if (Find(name) is not { } draft)
        {
            Add(name, bits.GranularityBytes, isRecording);
            draft = Find(name)!;
            isChanged = true;
        }

        draft.Flags = isRecording ? BitmapFlags.Auto : BitmapFlags.None;
        if (isChanged)
        {
            draft.Content = new EditedContent(GeometryOf(granularityBits), null);
            draft.Content.Merge(bits);
            draft.IsContentChanged = true;
            draft.LastChange = ++_changes;
        }
    }

    public void Clear(string name)
    {
        BitmapDraft draft = RequireConsistent(name);
        draft.Content = new EditedContent(GeometryOf(draft.GranularityBits), null);
        draft.IsContentChanged = true;
        draft.LastChange = ++_changes;
    }

    public void SetRecording(string name, bool isRecording)
    {
        BitmapDraft draft = RequireConsistent(name);
        draft.Flags = isRecording ? draft.Flags | BitmapFlags.Auto : draft.Flags & ~BitmapFlags.Auto;
    }

    public void Rename(string name, string newName)
    {
        BitmapDraft draft = RequireConsistent(name);
        if (string.Equals(name, newName, StringComparison.Ordinal))
        {
            return;
        }

        if (Find(newName) is not null)
        {
            throw new BitmapStateException(newName, $"Bitmap already exists: {newName}");
        }

        int growth = EntrySizeBytes(newName) - EntrySizeBytes(name);
        if (growth > 0 && _directoryBytes + growth > _image.Limits.MaxBitmapDirectoryBytes)
        {
            throw new BitmapStateException(newName, CannotPersist(newName, NoRoomInDirectory));
        }

        _directoryBytes += growth;
        draft.Name = newName;
        ForgetName(name, draft);
        _byName[newName] = draft;
    }

    public async ValueTask FillAsync(string name, long offsetBytes, long lengthBytes, bool value, CancellationToken cancellationToken)
    {
        BitmapDraft draft = RequireConsistent(name);
        if (offsetBytes > _image.Geometry.VirtualSizeBytes || lengthBytes > _image.Geometry.VirtualSizeBytes - offsetBytes)
        {
            throw new BitmapStateException(
                name,
                $"Bitmap '{name}': the range of {lengthBytes} bytes at {offsetBytes} does not lie inside the disk of "
                + $"{_image.Geometry.VirtualSizeBytes} bytes");
        }

        if (lengthBytes == 0)
        {
            // An empty range touches no granule.
            return;
        }

        EditedContent content = await ContentOfAsync(draft, cancellationToken).ConfigureAwait(false);
        draft.IsContentChanged = true;
        draft.LastChange = ++_changes;
        BitmapGeometry geometry = GeometryOf(draft.GranularityBits);
        long end = offsetBytes + lengthBytes;
        if (value)
        {
            content.Fill(
                offsetBytes >> geometry.GranularityBits, ImageGeometry.DivideRoundingUpByPowerOfTwo(end, geometry.GranularityBits), true);
        }
        else
        {
            // A partly cleared granule stays dirty; the last granule ends at the disk's end.
            long endBit = end == _image.Geometry.VirtualSizeBytes ? geometry.BitCount : end >> geometry.GranularityBits;
            content.Fill(ImageGeometry.DivideRoundingUpByPowerOfTwo(offsetBytes, geometry.GranularityBits), endBit, false);
        }
    }

    /// <summary>Merges a bitmap of this image, as it is at this step.</summary>
    public async ValueTask MergeAsync(string source, string into, CancellationToken cancellationToken)
    {
        // Checks that both exist before checking the state of either.
        _ = Require(into);
        _ = Require(source);
        BitmapDraft target = RequireConsistent(into);
        BitmapDraft draft = RequireConsistent(source);
        if (draft != target)
        {
            EditedContent content = await ContentOfAsync(draft, cancellationToken).ConfigureAwait(false);
            await MergeAsync(content.Freeze(), target, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Merges bits from elsewhere.</summary>
    public ValueTask MergeAsync(IBitmapPages source, string into, CancellationToken cancellationToken) =>
        MergeAsync(source, RequireConsistent(into), cancellationToken);

    /// <summary>Merges a bitmap of another image.</summary>
    public async ValueTask MergeAsync(
        ImageHandle image, string source, string into, bool requireSameSize, CancellationToken cancellationToken)
    {
        if (ReferenceEquals(image, _image))
        {
            await MergeAsync(source, into, cancellationToken).ConfigureAwait(false);
            return;
        }

        _ = Require(into);
        BitmapInfo info = image.Contents.Bitmaps.Find(source) ?? throw NotFound(source);

        BitmapDraft target = RequireConsistent(into);
        if (info.State == BitmapState.Inconsistent)
        {
            throw Inconsistent(source);
        }

        if (requireSameSize && image.Geometry.VirtualSizeBytes != _image.Geometry.VirtualSizeBytes)
        {
            throw new BitmapStateException(
                into,
                $"Bitmaps are of different sizes (destination size is {_image.Geometry.VirtualSizeBytes}, "
                + $"source size is {image.Geometry.VirtualSizeBytes}) and can't be merged");
        }

        PersistentBitmap pages = await PersistentBitmap.OpenAsync(image, info, image.NewLog(), cancellationToken).ConfigureAwait(false);
        await MergeAsync(pages, target, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// Marks bitmaps for rewriting whose bits or table lie partly past the end of the file: those bits count as dirty, but would read as
    /// clean once the file has grown.
    /// </summary>
    /// <exception cref="Qcow2FormatException">Their tables overlap so much that writing all anew could take any space.</exception>
    public async ValueTask KeepMissingBitsDirtyAsync(CancellationToken cancellationToken)
    {
        long rewritableBytes = RewritableTableBytes(_image);
        // A bitmap that is in use on disk and is stored unchanged was complete when the session opened it; the session stores all others
        // anew.
        foreach (BitmapDraft draft
            in _drafts.Where(static draft => !draft.IsContentChanged && draft.Stored!.State != BitmapState.Inconsistent))
        {
            PersistentBitmap stored = await PersistentBitmap.OpenAsync(
                _image, draft.Stored!, _image.NewLog(), cancellationToken).ConfigureAwait(false);
            if (stored.MissesBits)
            {
                rewritableBytes -= draft.Stored!.TableBytes;
                if (rewritableBytes < 0)
                {
                    throw new Qcow2FormatException(
                        new FormatFault(
                            FaultCode.BitmapDataTruncated, $"bitmap '{draft.Name}'", "bits", draft.TableOffset, "cut off by the file's end",
                            "all of them: tables overlap, and together are too long to be written anew"),
                        _image.Name);
                }

                draft.Content = new EditedContent(GeometryOf(draft.GranularityBits), stored);
                draft.IsContentChanged = true;
                draft.LastChange = ++_changes;
            }
        }
    }

    /// <summary>Checks, at the end, that QEMU will accept the result.</summary>
    public void RequireStorable()
    {
        BitmapDraft? broken = _drafts.Find(static draft => draft.Stored?.Faults.Count > 0);
        if (broken is not null)
        {
            throw new Qcow2FormatException(broken.Stored!.Faults[0], _image.Name);
        }

        if (!IsMended && !_image.Contents.Bitmaps.IsComplete && _drafts.Count > 0)
        {
            throw new BitmapStateException(
                "", $"'{_image.Name}': the bitmap directory cannot be read to its end; broken entries are to be dropped first");
        }
    }

    private async ValueTask MergeAsync(IBitmapPages source, BitmapDraft target, CancellationToken cancellationToken)
    {
        EditedContent content = await ContentOfAsync(target, cancellationToken).ConfigureAwait(false);
        content.Merge(source);
        target.IsContentChanged = true;
        target.LastChange = ++_changes;
    }

    private async ValueTask<EditedContent> ContentOfAsync(BitmapDraft draft, CancellationToken cancellationToken) =>
        draft.Content ??= new EditedContent(
        GeometryOf(draft.GranularityBits),
        await PersistentBitmap.OpenAsync(_image, draft.Stored!, _image.NewLog(), cancellationToken).ConfigureAwait(false));

    private BitmapGeometry GeometryOf(int granularityBits) =>
        new(_image.Geometry.VirtualSizeBytes, granularityBits, _image.Geometry.ClusterBits + 3);

    private void Append(BitmapDraft draft)
    {
        _drafts.Add(draft);
        _directoryBytes += EntrySizeBytes(draft.Name);
        // Of two bitmaps with the same name, the first is used.
        _byName.TryAdd(draft.Name, draft);
    }

    private void RemoveWhere(Predicate<BitmapDraft> condition)
    {
        BitmapDraft[] removed = [.. _drafts.Where(draft => condition(draft))];
        _drafts.RemoveAll(condition);
        foreach (BitmapDraft draft in removed)
        {
            _directoryBytes -= EntrySizeBytes(draft.Name);
            ForgetName(draft.Name, draft);
        }
    }

    /// <summary>
    /// When a bitmap loses its name, the name refers to the next bitmap that shares it: QEMU opens images in which that one is
    /// inconsistent.
    /// </summary>
    private void ForgetName(string name, BitmapDraft draft)
    {
        if (_byName.GetValueOrDefault(name) != draft)
        {
            return;
        }

        _byName.Remove(name);
        if (_drafts.Find(other => string.Equals(other.Name, name, StringComparison.Ordinal)) is { } next)
        {
            _byName.Add(name, next);
        }
    }

    private BitmapDraft? Find(string name) => _byName.GetValueOrDefault(name);

    private BitmapDraft Require(string name) => Find(name) ?? throw NotFound(name);

    private BitmapDraft RequireConsistent(string name)
    {
        BitmapDraft draft = Require(name);
        return !draft.Flags.HasFlag(BitmapFlags.InUse) ? draft : throw Inconsistent(name);
    }

    private static BitmapStateException NotFound(string name) => new(name, $"Dirty bitmap '{name}' not found");

    private static BitmapStateException Inconsistent(string name) => new(
        name, $"Bitmap '{name}' is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this bitmap from disk");

    /// <summary>QEMU's limits on what is stored, in its order.</summary>
    private void RequireRoom(string name, int granularityBits)
    {
        Qcow2Limits limits = _image.Limits;
        long entries = _image.Geometry.BitmapTableEntries(granularityBits);
        if (entries > Math.Min(limits.MaxBitmapTableEntries, limits.MaxBitmapBytes >> _image.Geometry.ClusterBits))
        {
            throw new BitmapStateException(
                name, CannotPersist(name, "Too much space will be occupied by the bitmap. Use larger granularity"));
        }

        if (entries == 0)
        {
            throw new BitmapStateException(name, CannotPersist(name, "The disk has no bytes, and a bitmap at least one bit"));
        }

        if (_drafts.Count >= limits.MaxBitmaps)
        {
            throw new BitmapStateException(name, CannotPersist(name, "Maximum number of persistent bitmaps is already reached"));
        }

        if (_directoryBytes + EntrySizeBytes(name) > limits.MaxBitmapDirectoryBytes)
        {
            throw new BitmapStateException(name, CannotPersist(name, NoRoomInDirectory));
        }
    }

    private static int EntrySizeBytes(string name) => new BitmapDirectoryEntry { Name = ImageText.Encode(name) }.SizeBytes;

    private string CannotPersist(string name, string why) =>
        $"Can't make bitmap '{name}' persistent in '{_image.Name}': {why}";
}
