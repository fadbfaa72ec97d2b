using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Operations;

/// <summary>
/// Rebuilds tracking from allocation, where a bitmap is missing in upper images, has a gap, or is inconsistent after a crash.
/// </summary>
/// <remarks>
/// An overlay has only what was written since it was made, and what was zeroed or discarded stays allocated as zeros; so all that it has is
/// a superset of its changes. That holds for version 3 images with a backing file and without internal snapshots (one may have been
/// applied). An image without a backing file gives clusters up: there only "everything changed" is true.
/// <para>
/// Where a bitmap's table is broken the clusters that its broken entries named are leaked, not freed: a broken entry may name
/// anything, a cluster of the guest's too, and whether somebody else uses that only a check knows, which counts every use in
/// the image. <c>check -r leaks</c> frees them.
/// </para>
/// </remarks>
public static class ChainPopulate
{
    /// <summary>
    /// Says which images need their bitmap rebuilt: those from the one where it was born, the lowest that holds
    /// it, up to the top that hold no usable one.
    /// </summary>
    /// <param name="chain">The chain.</param>
    /// <param name="name">The bitmap's name.</param>
    /// <param name="cancellationToken">Ends the reading of the bitmap's tables: one that cannot be read is not usable.</param>
    /// <returns>Their indexes from the bottom up; empty where the bitmap is valid.</returns>
    /// <exception cref="BitmapStateException">No image holds the bitmap.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async ValueTask<IReadOnlyList<int>> FindImagesAsync(
        ImageChain chain, string name, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        if (RebuildRules.FindBirth(chain.Layers, name) is null)
        {
            throw new BitmapStateException(
                name,
                $"Dirty bitmap '{name}' not found in any image of the chain: since when changes count nobody knows; "
                + $"an older one could stand in for it (--since)");
        }

        return [
            .. (await RebuildRules.FindUnusableAsync(chain.Layers, name, cancellationToken).ConfigureAwait(false))
                .Select(static layer => layer.Index)];
    }

    /// <summary>
    /// Rebuilds a bitmap, image by image from the bottom up, each by one atomic edit. Afterwards it is valid over the chain.
    /// </summary>
    /// <param name="chain">The chain; the images of <see cref="FindImagesAsync"/> are open for writing.</param>
    /// <param name="name">The bitmap's name.</param>
    /// <param name="allDirty">Whether all of an image counts as changed where its allocation does not tell; else that is refused.</param>
    /// <param name="trustsBirth">
    /// Whether the image where the bitmap was born, the lowest that holds it, counts as one that has all that was written to it, where the
    /// bitmap is not usable there. It has not, and nothing shows that, if it was committed and emptied, or rebased, since: then this would
    /// lose changes. Without this all of it has to count as changed.
    /// </param>
    /// <param name="cancellationToken">Ends the work between two images; the bitmap is not valid before the last.</param>
    /// <returns>What was rebuilt where.</returns>
    /// <exception cref="BitmapStateException">No image holds the bitmap, or an image's allocation does not tell
    /// what changed; nothing is changed.</exception>
    /// <exception cref="Qcow2FormatException">An image is broken, or a file ends before clusters that its image
    /// names; nothing is changed then.</exception>
    /// <exception cref="NoSpaceException">An image has no room, which is known beforehand: nothing is changed.</exception>
    /// <exception cref="Qcow2Exception">An image is broken.</exception>
    /// <exception cref="IOException">A storage failed, or an image is open for reading only.</exception>
    public static async ValueTask<IReadOnlyList<BitmapChange>> RunAsync(
        ImageChain chain, string name, bool allDirty = false, bool trustsBirth = false, CancellationToken cancellationToken = default)
    {
        IReadOnlyList<int> images = await FindImagesAsync(chain, name, cancellationToken).ConfigureAwait(false);
        int birth = ChainBitmaps.Holders(chain, [name]).Last();
        string? WhyUntold(ChainLayer layer) => ChainPopulate.WhyUntold(layer, birth, trustsBirth);
        foreach (int index in images)
        {
            ChainLayer layer = chain.Layers[index];
            if (RebuildRules.WhyImpossible(layer) is { } impossible)
            {
                throw new BitmapStateException(name, $"Bitmap '{name}' cannot be rebuilt in {layer}: {impossible}");
            }

            if (!allDirty && WhyUntold(layer) is { } unsound)
            {
                throw new BitmapStateException(
                    name,
                    $"Bitmap '{name}' cannot be rebuilt from what {layer} has: {unsound}; all of it could be marked instead (--all-dirty), "
                    + $"or a full backup be taken");
            }
        }

        // Of a table that is missing nobody knows what it had.
        await chain.RequireWholeAsync(withDataFiles: false, cancellationToken).ConfigureAwait(false);
        await SpaceCheck.RequireAllAsync(
            chain, images, copy => RunAsync(copy, name, allDirty, trustsBirth, cancellationToken).AsTask(),
            cancellationToken).ConfigureAwait(false);
        var changes = new List<BitmapChange>();
        long granularityOfBirth = GranularityIn(chain, name);
        foreach (int index in images)
        {
            ChainLayer layer = chain.Layers[index];
            Qcow2Image image = layer.RequireImage();
            bool isSound = WhyUntold(layer) is null;
            var edit = new BitmapEdit();
            long granularity = granularityOfBirth;
            if (image.Bitmaps.TryGet(name, out BitmapInfo? old))
            {
                granularity = old.GranularityBytes;
                edit.Remove(name);
            }

            var bits = new DirtyBitmap(layer.VirtualSizeBytes, granularity);
            if (old is not null)
            {
                await KeepBitsAsync(image, old, bits, cancellationToken).ConfigureAwait(false);
            }

            if (isSound)
            {
                await MarkAllocatedAsync(chain, index, bits, cancellationToken).ConfigureAwait(false);
            }
            else
            {
                bits.SetAll();
            }

            edit.AddCarried(name, granularity).Merge(bits, name);
            await image.Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
            changes.Add(new BitmapChange(
                name, BitmapChangeKind.Populated, layer.Path,
                $"{bits.Count().Bytes} bytes {(isSound ? "are allocated" : "are all there is")}"));
        }

        return changes;
    }

    /// <summary>
    /// Rebuilds a bitmap that no image holds, as it was lost with a program's memory in a crash, from one that is older: the top image gets
    /// it, by one atomic edit, with all that changed since that one.
    /// </summary>
    /// <remarks>
    /// What changed since the older one was made, or last cleared, is a superset of what changed since any later moment, in whatever image
    /// that was. That it is older no image tells: the caller vouches for it.
    /// </remarks>
    /// <param name="chain">The chain; its top image is open for writing.</param>
    /// <param name="name">The name of the bitmap that was lost.</param>
    /// <param name="since">The name of a valid bitmap that was made, and last cleared, before the lost one was.</param>
    /// <param name="cancellationToken">Ends the work before anything is written.</param>
    /// <returns>What was made.</returns>
    /// <exception cref="BitmapStateException">An image holds the bitmap, the older one is not valid, or the top image can
    /// hold none; nothing is changed.</exception>
    /// <exception cref="Qcow2FormatException">An image is broken, or a file ends before clusters that its image
    /// names; nothing is changed then.</exception>
    /// <exception cref="NoSpaceException">The image has no room; nothing is changed.</exception>
    /// <exception cref="Qcow2Exception">An image is broken.</exception>
    /// <exception cref="IOException">A storage failed, or the top image is open for reading only.</exception>
    public static async ValueTask<BitmapChange> RunSinceAsync(
        ImageChain chain, string name, string since, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        ChainLayer top = chain.Layers[0];
        if (RebuildRules.FindBirth(chain.Layers, name) is { } holder)
        {
            throw new BitmapStateException(
                name, $"{holder} holds bitmap '{name}': it is rebuilt from what images have allocated, without an older one (--since)");
        }

        if (RebuildRules.WhyImpossible(top) is { } impossible)
        {
            throw new BitmapStateException(name, $"Bitmap '{name}' cannot be made in {top}: {impossible}");
        }

        // A file that an edit makes longer does not show any more that something is missing.
        await chain.RequireWholeAsync(withDataFiles: false, cancellationToken).ConfigureAwait(false);
        await SpaceCheck.RequireAllAsync(
            chain, [0], copy => RunSinceAsync(copy, name, since, cancellationToken).AsTask(), cancellationToken).ConfigureAwait(false);
        var bits = new DirtyBitmap(
            top.VirtualSizeBytes, await GranularityOfValidAsync(chain, since, cancellationToken).ConfigureAwait(false));
        await foreach (DirtyExtent extent in chain.ReadExtentsAsync(since, cancellationToken: cancellationToken).ConfigureAwait(false))
        {
            bits.Set(extent.OffsetBytes, extent.LengthBytes);
        }

        var edit = new BitmapEdit();
        edit.AddCarried(name, bits.GranularityBytes).Merge(bits, name);
        await top.RequireImage().Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
        return new BitmapChange(
            name,
            BitmapChangeKind.Populated,
            top.Path,
            PrintableMessage.Of(
                $"{bits.Count().Bytes} bytes changed since '{since}', which must have been added, and last cleared, before it: "
                + $"you vouch for that"));
    }

    /// <summary>Marks all that an image itself has.</summary>
    internal static async ValueTask MarkAllocatedAsync(ImageChain chain, int index, DirtyBitmap bits, CancellationToken cancellationToken)
    {
        await foreach (DiskExtent extent in chain.ListOwnAsync(index, cancellationToken).ConfigureAwait(false))
        {
            if (extent.Kind != ExtentKind.Unallocated && extent.OffsetBytes < bits.SizeBytes)
            {
                bits.Set(extent.OffsetBytes, Math.Min(extent.LengthBytes, bits.SizeBytes - extent.OffsetBytes));
            }
        }
    }

    /// <summary>
    /// Takes over what a bitmap has that is incomplete: its bits are changes all the same, and it may stand
    /// for images that have left the chain.
    /// </summary>
    private static async ValueTask KeepBitsAsync(Qcow2Image image, BitmapInfo old, DirtyBitmap bits, CancellationToken cancellationToken)
    {
        try
        {
            PersistentBitmap pages = await PersistentBitmap.OpenAsync(
                image.Handle, old, new FaultLog(Strictness.Lenient, image.Name), cancellationToken).ConfigureAwait(false);
            if (pages.Aliases is null)
            {
                await bits.MergeAsync(pages, cancellationToken).ConfigureAwait(false);
            }
        }
        catch (Qcow2FormatException)
        {
            // Its table is broken: there is nothing to keep.
        }
    }

    private static string? WhyUntold(ChainLayer layer, int birth, bool trustsBirth) => RebuildRules.WhyUnsound(layer)
        ?? (layer.Index == birth && !trustsBirth
            ? "the bitmap was added there, and if the image was committed and emptied, or rebased, since then, "
                + "it no longer holds what was written to it (--trust-birth if neither was done)"
            : null);

    private static async ValueTask<long> GranularityOfValidAsync(ImageChain chain, string name, CancellationToken cancellationToken)
    {
        BitmapVerdict verdict = await chain.JudgeBitmapAsync(name, cancellationToken: cancellationToken).ConfigureAwait(false);
        if (!verdict.IsValid)
        {
            throw new BitmapStateException(verdict);
        }

        _ = chain.Layers[0].RequireImage().Bitmaps.TryGet(name, out BitmapInfo? bitmap);
        return bitmap!.GranularityBytes;
    }

    private static long GranularityIn(ImageChain chain, string name)
    {
        Qcow2Image birth = chain.Layers[ChainBitmaps.Holders(chain, [name]).Last()].RequireImage();
        _ = birth.Bitmaps.TryGet(name, out BitmapInfo? bitmap);
        return bitmap!.GranularityBytes;
    }
}
