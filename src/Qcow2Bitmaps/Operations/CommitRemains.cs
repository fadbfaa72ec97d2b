using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>Committed images that an interrupted commit did not remove.</summary>
/// <remarks>
/// Once all is durable the topmost committed image gets another name, in one step that survives a loss of power:
/// from then on the commit is done, whatever is written to the base, and only the removal is left. Committed images are removed from the
/// bottom up, so that those that are left can be found from the topmost one. Where that has its own name still, nothing is believed: that
/// it was committed is known from the base, which reads as it does.
/// </remarks>
internal sealed class CommitRemains(string topPath, string basePath, ChainOpenOptions options)
{
    private const string DoneSuffix = ".committed";

    /// <summary>The committed images that can be removed, the lowest first: what is left is found from the top.</summary>
    public static IReadOnlyList<string> ToRemove(IEnumerable<ChainLayer> committed) =>
        [.. committed.Reverse().Where(static layer => !layer.IsFixedSize).Select(static layer => layer.Path)];

    /// <summary>Removes the images of a commit that is done, which nobody has open. Failures are only told.</summary>
    /// <param name="paths">The images, the lowest first.</param>
    /// <param name="isMarked">Whether the topmost committed image is among them, and so is marked: a block device keeps its name.</param>
    public static IReadOnlyList<string> RemoveDone(IReadOnlyList<string> paths, bool isMarked)
    {
        string top = paths.Count == 0 ? "" : paths[^1];
        // From here on the commit is done: a rerun must not copy over later writes to the base.
        if (isMarked && !Leftovers.Tidy(
            $"The images are committed, but not removed: '{top}' could not be renamed to '{DonePathOf(top)}'",
            () => DurableFile.Rename(top, DonePathOf(top))))
        {
            return [];
        }

        // The remaining images are found from the topmost one: if one cannot be removed, keep all above it.
        return [.. paths.TakeWhile(path =>
        {
            string now = isMarked && string.Equals(path, top, StringComparison.Ordinal) ? DonePathOf(top) : path;
            return Leftovers.Tidy(
                $"The images are committed, but '{now}' is not removed; the same command again removes what is left", () => Remove(now));
        })];
    }

    /// <summary>
    /// Removes a committed image, which nobody has open; of a symbolic link the link alone, as rm and libvirt do: what somebody
    /// else may know under another name stays, which is told.
    /// </summary>
    /// <exception cref="IOException">It cannot be removed.</exception>
    public static void Remove(string path)
    {
        string? kept = FileNames.IsLink(path) && FileStorage.IdentityOf(path) is not null ? FilePlace.Of(path).RealPath : null;
        FileNames.Delete(path);
        if (kept is not null)
        {
            Leftovers.Tell($"'{path}' was a symbolic link and is removed; the committed image that it led to, '{kept}', is kept");
        }
    }

    /// <summary>Finds the images that are still to be removed.</summary>
    public async Task<IReadOnlyList<string>> FindAsync(string activePath, CancellationToken cancellationToken)
    {
        string? format = options.TopFormat;
        bool isTopActive = FileStorage.IdentityOf(activePath) is { } identity
            ? identity == FileStorage.IdentityOf(topPath)
            : string.Equals(activePath, topPath, StringComparison.Ordinal);
        bool isDone = DurableFile.Exists(DonePathOf(topPath));
        if (isDone && DurableFile.Exists(topPath))
        {
            throw IOException.Of(
                $"'{DonePathOf(topPath)}' exists: an image of the name '{topPath}' was committed before, "
                + $"and the commit was interrupted before the image was removed; look at both, and remove or rename what is not needed");
        }

        if (!isDone && !DurableFile.Exists(topPath))
        {
            throw new FileNotFoundException(PrintableMessage.Of(await WhatIsThereAsync(cancellationToken).ConfigureAwait(false)));
        }

        IOException Doubtful(string why) =>
            IOException.Of($"'{DonePathOf(topPath)}' looks like the rest of an interrupted commit, but {why}: nothing was removed");
        string committedPath = isDone ? DonePathOf(topPath) : topPath;
        if (!isTopActive)
        {
            ImageChain active = await ImageChain.OpenAsync(activePath, options, cancellationToken).ConfigureAwait(false);
            await using (active.ConfigureAwait(false))
            {
                if (active.IndexOf(committedPath) is not null || active.IndexOf(basePath) is null)
                {
                    return isDone ? throw Doubtful($"should have left the chain of '{activePath}', which does not show that") : [];
                }
            }

            format = ImageFormat.Qcow2;
        }

        var standIn = new StandIn(options.Resolver ?? FileBackingResolver.ForTop(committedPath, options.AllowedFolders), basePath);
        ImageChain chain = await ImageChain.OpenAsync(
            committedPath, options with { TopFormat = format, Resolver = standIn }, cancellationToken).ConfigureAwait(false);
        await using (chain.ConfigureAwait(false))
        {
            if (chain.IndexOf(basePath) is not (> 0 and { } target) || (isTopActive && !standIn.IsUsed && !isDone))
            {
                return isDone ? throw Doubtful($"has no backing file '{basePath}'") : [];
            }

            if ((await FoundOverlay.FindAsync(chain, Enumerable.Range(0, target), cancellationToken).ConfigureAwait(false)).Count > 0)
            {
                // Another image still needs them.
                return isDone ? throw Doubtful("is, or lies above, the backing file of another image") : [];
            }

            if (isDone)
            {
                return ToRemove(chain.Layers.Take(target));
            }

            ImageChain below = await ImageChain.OpenAsync(
                basePath, options with { TopFormat = chain.Layers[target].Format }, cancellationToken).ConfigureAwait(false);
            await using (below.ConfigureAwait(false))
            {
                long size = chain.Layers[0].VirtualSizeBytes;
                ImageComparison comparison = await DiskCopy.CompareAsync(
                    chain, below, cancellationToken: cancellationToken).ConfigureAwait(false);
                bool isThere = below.Layers[0].VirtualSizeBytes >= size
                    && (comparison.Outcome == ComparisonOutcome.Identical || comparison.OffsetBytes >= size);
                return isThere ? ToRemove(chain.Layers.Take(target)) : [];
            }
        }
    }

    private static string DonePathOf(string path) => path + DoneSuffix;

    private async ValueTask<string> WhatIsThereAsync(CancellationToken cancellationToken)
    {
        string gone = $"'{topPath}' does not exist, nor does '{DonePathOf(topPath)}', which a commit leaves if it is interrupted while it "
            + $"removes images";
        if (FileStorage.IdentityOf(basePath) is null)
        {
            return $"{gone}; '{basePath}' does not exist either";
        }

        ImageChain chain = await ImageChain.OpenAsync(basePath, options with { TopFormat = null }, cancellationToken).ConfigureAwait(false);
        await using (chain.ConfigureAwait(false))
        {
            ChainLayer there = chain.Layers[0];
            string bitmaps = there is not Qcow2Layer { Image.Bitmaps.Count: > 0, Image: var image }
                ? "no bitmaps"
                : $"the bitmaps {string.Join(", ", image.Bitmaps.Select(static bitmap => $"'{bitmap.Name}'"))}";
            return $"{gone}. '{basePath}' is there, {there.Format}, {there.VirtualSizeBytes} bytes, with {bitmaps}: "
                + $"if the image was committed to it before, nothing is left to do; check that it has what you expect, "
                + $"and that no image names '{topPath}' as its backing file";
        }
    }

    /// <summary>Substitutes the base for an image that has been removed already.</summary>
    private sealed class StandIn(IBackingResolver resolver, string basePath) : IBackingResolver
    {
        public bool IsUsed { get; private set; }

        public async Task<ImageStorage> OpenAsync(
            BackingReference reference, ImageLock imageLock, CancellationToken cancellationToken = default)
        {
            try
            {
                return await resolver.OpenAsync(reference, imageLock, cancellationToken).ConfigureAwait(false);
            }
            catch (FileNotFoundException) when (!IsUsed)
            {
                IsUsed = true;
                return FileStorage.Open(basePath, reference.Access, imageLock);
            }
        }
    }
}
