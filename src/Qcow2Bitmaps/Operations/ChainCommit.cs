using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Images.Naming;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

// Decisions: docs/decisions/operations.md.
/// <summary>Commits: the data and the bitmaps of images become those of an image below them.</summary>
/// <remarks>
/// <para>
/// In this order, each step durable before the next: the base grows; images between get the bitmaps that the base is to get,
/// empty, from the top down, so that there is never a gap; the base gets the bits, in one atomic edit; the data are copied; the
/// image above names the base. A commit stopped anywhere is run again and ends right; the guest sees the same, and every bitmap
/// that was valid is valid, at every moment.
/// </para>
/// <para>
/// Each valid bitmap of the committed top is made in the base where it is absent, and merged from every image of its run. Recording bitmaps
/// of the base that are not part of a valid run get the bits of all that is committed: nobody else has recorded it. A bitmap of the
/// committed images that is not valid, and of which images above have bits too, must not look valid without them: it is made in the base,
/// disabled, with the bits of all that is committed; where the base holds no bitmaps, that of the image above is disabled, all dirty. What
/// the top, being shorter than the base, hides of it counts as changed, and reads as zeros for longer images above.
/// </para>
/// </remarks>
public static class ChainCommit
{
    /// <summary>
    /// Says which images a commit writes: the committed ones and the base, the image above, and now and
    /// then others above it that are longer.
    /// </summary>
    /// <param name="chain">The chain.</param>
    /// <param name="top">The index of the topmost committed image.</param>
    /// <param name="base">The index of the image that takes all.</param>
    public static IEnumerable<int> WritableLayers(ImageChain chain, int top, int @base)
    {
        ArgumentNullException.ThrowIfNull(chain);
        int first = Math.Max(0, top - 1);
        IEnumerable<int> above = OverhangsAbove(chain, top, @base).Select(static overhang => overhang.Layer);
        if (top > 0 && !HoldsBitmaps(chain.Layers[@base]) && FindTeller(chain, top) is { } teller)
        {
            above = above.Append(teller);
        }

        return [.. above.Where(layer => layer < first).Distinct(), .. Enumerable.Range(first, @base - first + 1)];
    }

    /// <summary>
    /// Finds the images whose internal snapshots read other data after a commit: the committed ones, as what lies below them changes.
    /// Snapshots of the base, and of images above, read what they read before.
    /// </summary>
    /// <param name="chain">The chain.</param>
    /// <param name="top">The index of the topmost committed image.</param>
    /// <param name="base">The index of the image that takes all.</param>
    public static IReadOnlyList<ChangedSnapshots> FindChangedSnapshots(ImageChain chain, int top, int @base)
    {
        ArgumentNullException.ThrowIfNull(chain);
        return [.. chain.Layers.Take(@base)
            .Skip(top)
            .Where(static layer => layer is Qcow2Layer { Image.Snapshots.Count: > 0 })
            .Select(static layer => new ChangedSnapshots(layer))];
    }

    /// <summary>Commits images.</summary>
    /// <param name="chain">The chain, from the active image down, with <see cref="WritableLayers"/> open for
    /// writing; to be closed afterwards.</param>
    /// <param name="top">The index of the topmost committed image; the image above it, if there is one, names the base afterwards.</param>
    /// <param name="base">The index of the image that takes all.</param>
    /// <param name="options">How; the defaults when null.</param>
    /// <param name="progress">Is told how many bytes of the disk are done.</param>
    /// <param name="cancellationToken">Ends the commit; the chain is valid then, and the commit can be run again.</param>
    /// <returns>What became of the bitmaps, and how much was copied.</returns>
    /// <exception cref="ArgumentOutOfRangeException">There is no such image, or the base does not lie below the top.</exception>
    /// <exception cref="SnapshotStateException">Internal snapshots would read other data; nothing is written.</exception>
    /// <exception cref="Qcow2FormatException">An image is broken, or a file ends before clusters that its image
    /// names; nothing is written then.</exception>
    /// <exception cref="BitmapStateException">The base cannot hold bitmaps, or cannot grow as a bitmap of it is
    /// inconsistent; nothing is written.</exception>
    /// <exception cref="Qcow2UnsupportedException">The base is of version 2 and would have to grow over a longer image below it, or it
    /// would grow over data that its raw data file has behind its end; nothing is written.</exception>
    /// <exception cref="Qcow2Exception">An image is broken, cannot be written, or has no room; where the image above has none for the
    /// base's name nothing is written.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async Task<ChainResult> RunAsync(
        ImageChain chain, int top, int @base, CommitOptions? options = null, IProgress<OperationProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        ArgumentOutOfRangeException.ThrowIfNegative(top);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(top, @base);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(@base, chain.Layers.Count);
        options ??= CommitOptions.Default;
        ChainDisk map = await chain.OpenDataAsync(cancellationToken).ConfigureAwait(false);
        ChainLayer target = chain.Layers[@base];
        if (!options.AcceptsLosses)
        {
            ChangedSnapshots.RequireNone(FindChangedSnapshots(chain, top, @base));
            await chain.RequireWholeAsync(withDataFiles: true, cancellationToken).ConfigureAwait(false);
        }

        await RequireNoHiddenDataAsync(chain, map, top, @base, options, cancellationToken).ConfigureAwait(false);
        await SpaceCheck.RequireAsync(
            chain,
            @base,
            Math.Max(target.VirtualSizeBytes, chain.Layers[top].VirtualSizeBytes),
            (copy, depth) => RunAsync(copy, top, @base, options with { Rehearses = depth }, null, cancellationToken),
            cancellationToken).ConfigureAwait(false);
        List<BitmapVerdict> verdicts = await JudgeAsync(chain, top, cancellationToken).ConfigureAwait(false);
        RequireHolder(target, verdicts, options);
        RequireGrowth(chain, top, @base);
        if (top > 0)
        {
            await BackingChange.RequireRoomAsync(
                chain.Layers[top - 1].RequireImage().Handle, NameOf(chain, top, target, options), target.Format,
                cancellationToken).ConfigureAwait(false);
        }

        var changes = new List<BitmapChange>();
        long oldSize = target.VirtualSizeBytes;
        await Overhangs.MarkAsync(
            chain, OverhangsAbove(chain, top, @base), [.. chain.Layers.Take(@base).Skip(top)], changes,
            cancellationToken).ConfigureAwait(false);
        await GrowAsync(chain, map, @base, chain.Layers[top].VirtualSizeBytes, cancellationToken).ConfigureAwait(false);
        if (HoldsBitmaps(target))
        {
            await StoreBitsAsync(chain, map.From(top), top, @base, oldSize, verdicts, changes, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            changes.AddRange(
                verdicts.Select(
                    verdict => new BitmapChange(verdict.Name, BitmapChangeKind.LeftBehind, target.Path, "the base holds no bitmaps")));
        }

        long copied = await CopyAsync(
            chain, map.From(top), top, @base, oldSize, options, progress, cancellationToken).ConfigureAwait(false);
        if (top > 0 && !HoldsBitmaps(target))
        {
            await InvalidateAboveAsync(chain, top, @base, changes).ConfigureAwait(false);
        }

        var result = new ChainResult(changes, copied)
        {
            Verdicts = await LaterChain.JudgeAsync(
                [.. chain.Layers.Take(top), .. chain.Layers.Skip(@base)], changes, cancellationToken).ConfigureAwait(false),
        };
        if (top > 0)
        {
            Qcow2Image above = chain.Layers[top - 1].RequireImage();
            string name = NameOf(chain, top, target, options);
            await above.SetBackingFileAsync(name, target.Format, CancellationToken.None).ConfigureAwait(false);
            return result with { RebasedImage = above.Name, BackingFile = name };
        }

        return result;
    }

    /// <summary>
    /// Empties the top image after a commit to the one below it, as <c>qemu-img commit</c> does: the guest
    /// sees the same. Its bitmaps stay as they are.
    /// </summary>
    /// <param name="chain">The chain, its top image open for writing.</param>
    /// <param name="cancellationToken">Ends the work; what is left in the image then is what the base has too.</param>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async Task EmptyTopAsync(ImageChain chain, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        GuestWriter writer = await chain.OpenWriterAsync(0, marksWrites: false, cancellationToken).ConfigureAwait(false);
        await using (writer.ConfigureAwait(false))
        {
            await writer.EmptyAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private static IEnumerable<(int Layer, long Start, long End)> OverhangsAbove(ImageChain chain, int top, int @base) =>
        Overhangs.Find(
            chain, top, chain.Layers.Take(@base).Skip(top).Select(static layer => layer.VirtualSizeBytes).DefaultIfEmpty().Max());

    private static async ValueTask<List<BitmapVerdict>> JudgeAsync(ImageChain chain, int top, CancellationToken cancellationToken)
    {
        var verdicts = new List<BitmapVerdict>();
        ChainLayer[] layers = [.. chain.Layers.Skip(top)];
        foreach (BitmapInfo bitmap in layers[0].RequireImage().Bitmaps)
        {
            verdicts.Add(await TableJudge.JudgeAsync(layers, bitmap.Name, VerdictProfile.Libvirt, cancellationToken).ConfigureAwait(false));
        }

        return verdicts;
    }

    private static string NameOf(ImageChain chain, int top, ChainLayer target, CommitOptions options) =>
        target.NameIn(chain.Layers[top - 1].Path, options.BackingFile);

    private static void RequireHolder(ChainLayer target, List<BitmapVerdict> verdicts, CommitOptions options)
    {
        if (target is not Qcow2Layer { Image.Header.Version: >= 3 }
            && !options.DropBitmaps
            && verdicts.Find(static verdict => verdict.IsValid) is { } lost)
        {
            throw new BitmapStateException(
                lost.Name,
                $"Bitmap '{lost.Name}' would be lost: {target} is {(target is RawLayer ? "raw" : "of version 2")} and holds no bitmaps");
        }
    }

    /// <summary>
    /// Version 2 has no zero clusters, which would hide what a longer image has behind the base's end. QEMU refuses too, halfway.
    /// </summary>
    private static void RequireGrowth(ImageChain chain, int top, int @base)
    {
        ChainLayer target = chain.Layers[@base];
        long newSize = chain.Layers[top].VirtualSizeBytes;
        if (target is Qcow2Layer { Image.Header.Version: < 3 } && target.VirtualSizeBytes < newSize
            && chain.Layers.Skip(@base + 1).Select(static layer => layer.VirtualSizeBytes).FirstOrDefault() > target.VirtualSizeBytes)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Version2,
                $"{target} of {target.VirtualSizeBytes} bytes cannot grow to {newSize}: its backing image is longer, "
                + $"and version 2 cannot hide what that has there");
        }
    }

    /// <summary>
    /// What a raw data file has behind the base's end becomes the base's when that grows; the guest has
    /// read zeros there, or what it wrote itself.
    /// </summary>
    private static async ValueTask RequireNoHiddenDataAsync(
        ImageChain chain, ChainDisk map, int top, int @base, CommitOptions options, CancellationToken cancellationToken)
    {
        ChainLayer target = chain.Layers[@base];
        if (target is not Qcow2Layer { Image.Header.HasRawDataFile: true } || options.Rehearses is { } depth and not MeasureDepth.Data)
        {
            return;
        }

        long newSize = chain.Layers[top].VirtualSizeBytes;
        ImageStorage file = map.DiskOf(@base)!.Data!;
        if (await NonZeroSearch.FindAsync(file, target.VirtualSizeBytes, newSize, cancellationToken).ConfigureAwait(false) is { } found)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.ExternalDataFile,
                $"{target} of {target.VirtualSizeBytes} bytes would grow to {newSize} over what its raw data file '{file.Name}' has behind "
                + $"that end, "
                + $"first at byte {found}: that would be lost. Copy it elsewhere if it is of use, make it zeros, then commit again; "
                    + $"nothing was written");
        }
    }

    private static async ValueTask GrowAsync(
        ImageChain chain, ChainDisk map, int @base, long sizeBytes, CancellationToken cancellationToken)
    {
        ChainLayer target = chain.Layers[@base];
        if (target.VirtualSizeBytes >= sizeBytes)
        {
            return;
        }

        if (target is Qcow2Layer { Image: var image })
        {
            Disk? below = @base + 1 < chain.Layers.Count ? map.From(@base + 1) : null;
            var options = new Qcow2ResizeOptions
            {
                Backing = below,
                DataFile = image.Header.HasExternalDataFile ? map.DiskOf(@base)!.Data : null,
            };
            await image.ResizeAsync(sizeBytes, options, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            await target.Storage.SetLengthAsync(sizeBytes, cancellationToken).ConfigureAwait(false);
        }
    }

    private static async ValueTask StoreBitsAsync(
        ImageChain chain, ChainDisk map, int top, int @base, long oldSize, List<BitmapVerdict> verdicts, List<BitmapChange> changes,
        CancellationToken cancellationToken)
    {
        Qcow2Image target = chain.Layers[@base].RequireImage();
        await CloseGapsAsync(chain, top, @base, verdicts, changes, cancellationToken).ConfigureAwait(false);
        var edit = new BitmapEdit();
        var merged = new HashSet<string>(StringComparer.Ordinal);
        long granularity = 65536;
        foreach (BitmapVerdict verdict in verdicts)
        {
            if (!verdict.IsValid)
            {
                continue;
            }

            _ = chain.Layers[top].RequireImage().Bitmaps.TryGet(verdict.Name, out BitmapInfo? first);
            if (target.Bitmaps.TryGet(verdict.Name, out BitmapInfo? own))
            {
                granularity = Math.Min(granularity, own.GranularityBytes);
            }
            else
            {
                granularity = Math.Min(granularity, first!.GranularityBytes);
                edit.AddCarried(verdict.Name, first!.GranularityBytes);
            }

            foreach (int index in verdict.Images.Where(index => index < @base))
            {
                edit.Merge(chain.Layers[index].RequireImage(), verdict.Name, verdict.Name);
            }

            merged.Add(verdict.Name);
            changes.Add(new BitmapChange(verdict.Name, BitmapChangeKind.Merged, target.Name));
        }

        BitmapInfo[] lost = [
            .. LostBitmaps(chain, top, @base).Where(bitmap => !merged.Contains(bitmap.Name) && !target.Bitmaps.TryGet(bitmap.Name, out _))];
        var others = new List<BitmapInfo>();
        foreach (BitmapInfo bitmap in target.Bitmaps.Where(bitmap => !merged.Contains(bitmap.Name)))
        {
            // One that cannot be read is not valid, nor is it made so.
            if (await TableJudge.IsUsableAsync(chain.Layers[@base], bitmap.Name, cancellationToken).ConfigureAwait(false))
            {
                others.Add(bitmap);
            }
        }

        foreach (BitmapVerdict left
            in verdicts.Where(verdict =>
                !verdict.IsValid && !others.Concat(lost).Any(bitmap => string.Equals(bitmap.Name, verdict.Name, StringComparison.Ordinal))))
        {
            changes.Add(new BitmapChange(left.Name, BitmapChangeKind.LeftBehind, chain.Layers[top].Path, left.Detail));
        }

        granularity = others.Concat(lost).Select(static bitmap => bitmap.GranularityBytes).Append(granularity).Min();
        (DirtyBitmap has, DirtyBitmap hides) = await SubchainRanges.CollectAsync(
            map, @base - top, target.VirtualSizeBytes, granularity, cancellationToken, endSizeBytes: oldSize).ConfigureAwait(false);
        if (map.SizeBytes < oldSize)
        {
            // Behind the top's end the disk read zeros, or did not exist.
            hides.Set(map.SizeBytes, oldSize - map.SizeBytes);
        }

        foreach (string name in merged)
        {
            edit.Merge(hides, name);
        }

        foreach (BitmapInfo bitmap in others)
        {
            await MergeRecordsAsync(chain, top, @base, bitmap.Name, edit, cancellationToken).ConfigureAwait(false);
            edit.Merge(has, bitmap.Name).Merge(hides, bitmap.Name);
            changes.Add(new BitmapChange(bitmap.Name, BitmapChangeKind.Marked, target.Name, "what is committed"));
        }

        foreach (BitmapInfo bitmap in lost)
        {
            edit.AddCarried(bitmap.Name, bitmap.GranularityBytes, isRecording: false).Merge(has, bitmap.Name).Merge(hides, bitmap.Name);
            await MergeRecordsAsync(chain, top, @base, bitmap.Name, edit, cancellationToken).ConfigureAwait(false);
            changes.Add(
                new BitmapChange(
                    bitmap.Name, BitmapChangeKind.Disabled, target.Name,
                    "it was not valid, and would look valid without what is committed"));
        }

        await target.Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// Merges the bits that committed images have of a bitmap that is not valid over them. After a rebase these tell what left the chain,
    /// and the base may be another disk's image, whose bitmap of that name does not know of it.
    /// </summary>
    private static async ValueTask MergeRecordsAsync(
        ImageChain chain, int top, int @base, string name, BitmapEdit edit, CancellationToken cancellationToken)
    {
        foreach (ChainLayer layer in chain.Layers.Take(@base).Skip(top))
        {
            if (await TableJudge.HasBitsAsync(layer, name, cancellationToken).ConfigureAwait(false))
            {
                edit.Merge(layer.RequireImage(), name, name);
            }
        }
    }

    /// <summary>
    /// Makes valid bitmaps that the base is to get in the images between, with one edit each: in the base
    /// alone they would lie behind a gap.
    /// </summary>
    private static async ValueTask CloseGapsAsync(
        ImageChain chain, int top, int @base, List<BitmapVerdict> verdicts, List<BitmapChange> changes, CancellationToken cancellationToken)
    {
        for (int index = top + 1; index < @base; index++)
        {
            Qcow2Image between = chain.Layers[index].RequireImage();
            if (between.Header.Version < 3)
            {
                // Until the commit is done these bitmaps are behind a gap then; nothing in this image can hold them.
                continue;
            }

            var edit = new BitmapEdit();
            foreach (BitmapVerdict verdict
                in verdicts.Where(verdict =>
                    verdict.IsValid
                        && verdict.Images[^1] < index
                        && !chain.Layers[@base].RequireImage().Bitmaps.TryGet(verdict.Name, out _)))
            {
                _ = chain.Layers[top].RequireImage().Bitmaps.TryGet(verdict.Name, out BitmapInfo? first);
                edit.AddCarried(verdict.Name, first!.GranularityBytes);
                changes.Add(new BitmapChange(verdict.Name, BitmapChangeKind.Added, between.Name, "so that there is no gap"));
            }

            if (edit.Count > 0)
            {
                await between.Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>
    /// The bitmaps of the committed images, each name once, of which images above have bits too: those would look like all there is.
    /// </summary>
    private static IEnumerable<BitmapInfo> LostBitmaps(ImageChain chain, int top, int @base) => chain.Layers
        .Skip(top)
        .Take(@base - top)
        .SelectMany(static layer => layer.RequireImage().Bitmaps)
        .DistinctBy(static bitmap => bitmap.Name, StringComparer.Ordinal)
        .Where(bitmap => chain.Layers.Take(top).Any(layer => layer.RequireImage().Bitmaps.TryGet(bitmap.Name, out _)));

    private static bool HoldsBitmaps(ChainLayer layer) => layer is Qcow2Layer { Image.Header.Version: >= 3 };

    /// <summary>
    /// The nearest image above the committed ones that can hold bitmaps, and so say that bits are lost; null
    /// when there is none, and so no bitmap above.
    /// </summary>
    private static int? FindTeller(ImageChain chain, int top)
    {
        for (int layer = top - 1; layer >= 0; layer--)
        {
            if (HoldsBitmaps(chain.Layers[layer]))
            {
                return layer;
            }
        }

        return null;
    }

    /// <summary>Where the base holds no bitmaps: lets an image above say that bits are lost.</summary>
    private static async ValueTask InvalidateAboveAsync(ImageChain chain, int top, int @base, List<BitmapChange> changes)
    {
        if (FindTeller(chain, top) is not { } teller)
        {
            return;
        }

        Qcow2Image above = chain.Layers[teller].RequireImage();
        var edit = new BitmapEdit();
        foreach (BitmapInfo bitmap in LostBitmaps(chain, top, @base))
        {
            if (above.Bitmaps.TryGet(bitmap.Name, out BitmapInfo? there) && !IsRecording(there))
            {
                // It is not valid as it is.
                continue;
            }

            // All dirty: nobody can tell any more, and populating keeps what is there.
            _ = there is null ? edit.AddCarried(bitmap.Name, bitmap.GranularityBytes, isRecording: false) : edit.Disable(bitmap.Name);
            edit.Set(bitmap.Name, 0, above.VirtualSizeBytes);
            changes.Add(new BitmapChange(bitmap.Name, BitmapChangeKind.Disabled, above.Name, "its bits of what is committed are lost"));
        }

        await above.Bitmaps.EditAsync(edit, CancellationToken.None).ConfigureAwait(false);
    }

    private static async Task<long> CopyAsync(
        ImageChain chain, ChainDisk map, int top, int @base, long oldSize, CommitOptions options, IProgress<OperationProgress>? progress,
        CancellationToken cancellationToken)
    {
        Disk target = chain.Layers[@base] is RawLayer
            ? new RawDisk(chain.Layers[@base].Storage)
            : await chain.OpenWriterAsync(@base, marksWrites: false, cancellationToken).ConfigureAwait(false);
        await using (target.ConfigureAwait(false))
        {
            var copying = new ConversionOptions
            {
                Workers = options.Workers,
                BytesPerSecond = options.BytesPerSecond,
                Rehearses = options.Rehearses,
            };
            var engine = new CopyEngine(target, copying, progress, zeroFromBytes: oldSize);
            if (map.SizeBytes < oldSize && chain.Layers.Take(top).Any(above => above.VirtualSizeBytes > map.SizeBytes))
            {
                // Behind the top's end the images above it have read zeros so far, whatever the base has there.
                await engine.ZeroAsync(map.SizeBytes, oldSize, cancellationToken).ConfigureAwait(false);
            }

            await engine.RunAsync(new CopyScope(map) { SkipFromDepth = @base - top }, cancellationToken).ConfigureAwait(false);
            await target.FlushAsync(cancellationToken).ConfigureAwait(false);
            return engine.WrittenBytes;
        }
    }

    private static bool IsRecording(BitmapInfo bitmap) => bitmap.State == BitmapState.Recording && bitmap.Faults.Count == 0;
}
