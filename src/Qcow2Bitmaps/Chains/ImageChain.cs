using System.Runtime.CompilerServices;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Chains;

/// <summary>A backing chain: the top image and all images below it, down to one without a backing file.</summary>
/// <remarks>Thread-safe. The images are read-only; no data file is opened.</remarks>
public sealed class ImageChain : IAsyncDisposable
{
    private readonly List<ChainLayer> _layers = [];

    private ImageChain()
    {
    }

    /// <summary>The images, top first.</summary>
    public IReadOnlyList<ChainLayer> Layers => _layers;

    /// <summary>Opens a chain of files.</summary>
    /// <param name="topPath">The top image.</param>
    /// <param name="options">How; the defaults when null.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The chain, to be disposed.</returns>
    /// <exception cref="Qcow2FormatException">An image is broken.</exception>
    /// <exception cref="Qcow2UnsupportedException">A backing file's name or format is refused, or the chain is too deep or bites its tail.</exception>
    /// <exception cref="ImageLockedException">Somebody else writes one of the images.</exception>
    /// <exception cref="IOException">A file cannot be opened or read.</exception>
    public static async Task<ImageChain> OpenAsync(
        string topPath, ChainOpenOptions? options = null, CancellationToken cancellationToken = default)
    {
        options ??= ChainOpenOptions.Default;
        var top = FileStorage.Open(topPath, StorageAccess.Read, options.Image.Lock);
        return await OpenAsync(top, options, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Opens a chain whose top image is in any storage.</summary>
    /// <param name="top">The top image's storage, which the chain disposes.</param>
    /// <param name="options">How; the defaults when null.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The chain, to be disposed.</returns>
    /// <inheritdoc cref="OpenAsync(string, ChainOpenOptions, CancellationToken)" path="/exception"/>
    public static async Task<ImageChain> OpenAsync(
        ImageStorage top, ChainOpenOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(top);
        options ??= ChainOpenOptions.Default;
        var chain = new ImageChain();
        try
        {
            await chain.AddAsync(top, options.TopFormat, options.Image, cancellationToken).ConfigureAwait(false);
            IBackingResolver? resolver = options.Resolver;
            while (options.FollowBacking && chain._layers[^1] is { Image: { BackingFile: { } name } image } layer)
            {
                int depth = layer.Index + 1;
                if (depth >= options.Image.Limits.MaxChainDepth)
                {
                    throw new Qcow2UnsupportedException(UnsupportedReason.ChainTooDeep, $"The chain has more than {options.Image.Limits.MaxChainDepth} images");
                }

                resolver ??= top is FileStorage
                    ? FileBackingResolver.ForTop(top.Name, options.AllowedFolders)
                    : throw new Qcow2UnsupportedException(UnsupportedReason.NoResolver, $"'{PrintableText.Escape(top.Name)}' is no file: opening its backing file needs a resolver");
                var reference = new BackingReference(layer.Path, name, image.BackingFormat, depth);
                ImageStorage storage = await OpenBackingAsync(resolver, reference, options.Image.Lock, cancellationToken).ConfigureAwait(false);
                await chain.AddAsync(storage, image.BackingFormat, options.Image, cancellationToken).ConfigureAwait(false);
            }

            return chain;
        }
        catch
        {
            await chain.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Judges every bitmap that any image of the chain holds.</summary>
    /// <param name="profile">Whose rules apply.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The verdicts, in the order in which the names first appear from the top down.</returns>
    /// <exception cref="IOException">A storage failed.</exception>
    public async ValueTask<IReadOnlyList<BitmapVerdict>> JudgeBitmapsAsync(
        VerdictProfile profile = VerdictProfile.Libvirt, CancellationToken cancellationToken = default)
    {
        var verdicts = new List<BitmapVerdict>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (BitmapInfo bitmap in _layers.SelectMany(static layer => layer.Image?.Bitmaps ?? Enumerable.Empty<BitmapInfo>()))
        {
            if (seen.Add(bitmap.Name))
            {
                verdicts.Add(await JudgeBitmapAsync(bitmap.Name, profile, cancellationToken).ConfigureAwait(false));
            }
        }

        return verdicts;
    }

    /// <summary>Judges one bitmap. Of a bitmap that is valid by its directory entries the tables are read too, no bits.</summary>
    /// <param name="name">Its name, which no image needs to hold.</param>
    /// <param name="profile">Whose rules apply.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>Whether the bitmap is valid over the chain, and if not, why and in which image.</returns>
    /// <exception cref="IOException">A storage failed.</exception>
    public async ValueTask<BitmapVerdict> JudgeBitmapAsync(
        string name, VerdictProfile profile = VerdictProfile.Libvirt, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(name);
        BitmapVerdict verdict = BitmapJudge.Judge(_layers, name, profile);
        if (!verdict.IsValid)
        {
            return verdict;
        }

        foreach (ChainLayer layer in verdict.Images.Select(index => _layers[index]))
        {
            if (layer.Image!.Bitmaps.HaveOverlappingTables)
            {
                return BitmapJudge.Unreadable(_layers, name, layer, "the tables of the image's bitmaps overlap, together they are longer than the file");
            }

            try
            {
                // Lenient or not: a bitmap with a broken table is no record of changes.
                await layer.Image.Bitmaps.OpenPagesAsync(name, new FaultLog(Strictness.AsQemu, layer.Path), cancellationToken).ConfigureAwait(false);
            }
            catch (Qcow2FormatException e)
            {
                return BitmapJudge.Unreadable(_layers, name, layer, e.Fault.ToString());
            }
        }

        return verdict;
    }

    /// <summary>Reads what a valid bitmap says of the chain: its bits merged over all images that hold it, in bounded memory.</summary>
    /// <param name="name">The bitmap's name.</param>
    /// <param name="includeClean">Whether to yield the clean ranges too.</param>
    /// <param name="findings">Takes, at the end, the faults that did not end the reading.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>
    /// The ranges in ascending order, neighbours joined, in granules of the topmost bitmap. What a shorter image hides of a longer one below it counts as dirty.
    /// </returns>
    /// <exception cref="BitmapStateException">The bitmap is not valid over the chain; the message is its verdict.</exception>
    /// <exception cref="Qcow2FormatException">A bitmap's table is not allowed.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public async IAsyncEnumerable<DirtyExtent> ReadExtentsAsync(
        string name, bool includeClean = false, ICollection<FormatFault>? findings = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var logs = new List<FaultLog>();
        MergedBitmapReader reader = await OpenMergedAsync(name, logs, cancellationToken).ConfigureAwait(false);
        await foreach (DirtyExtent extent in reader.ReadExtentsAsync(includeClean, cancellationToken).ConfigureAwait(false))
        {
            yield return extent;
        }

        for (int i = 0; i < logs.Count; i++)
        {
            // The bitmap's images are those from the top down.
            logs[i].CopyTo(findings, prefix: $"{PrintableText.Escape(_layers[i].ToString())}, ");
        }
    }

    /// <summary>Counts what <see cref="ReadExtentsAsync"/> would yield.</summary>
    /// <param name="name">The bitmap's name.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The dirty granules of the topmost bitmap's size, and their bytes.</returns>
    /// <exception cref="BitmapStateException">The bitmap is not valid over the chain; the message is its verdict.</exception>
    /// <exception cref="Qcow2FormatException">A bitmap's table is not allowed.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public async ValueTask<DirtyCount> CountAsync(string name, CancellationToken cancellationToken = default)
    {
        MergedBitmapReader reader = await OpenMergedAsync(name, [], cancellationToken).ConfigureAwait(false);
        return await reader.CountAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Closes all images.</summary>
    public async ValueTask DisposeAsync()
    {
        foreach (ChainLayer layer in _layers)
        {
            await layer.Storage.DisposeAsync().ConfigureAwait(false);
        }
    }

    private static async ValueTask<ImageStorage> OpenBackingAsync(
        IBackingResolver resolver, BackingReference reference, ImageLock imageLock, CancellationToken cancellationToken)
    {
        try
        {
            return await resolver.OpenAsync(reference, imageLock, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException or UnauthorizedAccessException)
        {
            throw new FileNotFoundException(
                $"{e.Message} (image {reference.Depth}, which '{PrintableText.Escape(reference.ImagePath)}' names as its backing file)", reference.FileName, e);
        }
    }

    private async ValueTask AddAsync(ImageStorage storage, string? format, Qcow2OpenOptions options, CancellationToken cancellationToken)
    {
        bool isAdded = false;
        try
        {
            RequireNew(storage);
            // Before and after its flags are read: a writer that comes or goes meanwhile makes them doubtful.
            bool isOpenElsewhere = storage.IsOpenForWritingElsewhere();
            bool isProbed = format is null;
            format ??= await ImageFormat.ProbeAsync(storage, cancellationToken).ConfigureAwait(false);
            Qcow2Image? image = format switch
            {
                ImageFormat.Raw => null,
                ImageFormat.Qcow2 => await Qcow2Image.OpenAsync(storage, options, leaveOpen: true, cancellationToken).ConfigureAwait(false),
                _ => throw new Qcow2UnsupportedException(
                    UnsupportedReason.Format, $"'{PrintableText.Escape(storage.Name)}' is of format '{PrintableText.Escape(format)}'; only qcow2 and raw are read"),
            };
            _layers.Add(new ChainLayer(_layers.Count, storage, image, isProbed, isOpenElsewhere || storage.IsOpenForWritingElsewhere()));
            isAdded = true;
        }
        finally
        {
            if (!isAdded)
            {
                await storage.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    private void RequireNew(ImageStorage storage)
    {
        if (storage.Identity is { } identity && _layers.Find(layer => layer.Storage.Identity == identity) is { } earlier)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.ChainLoop, $"The chain bites its tail: '{PrintableText.Escape(storage.Name)}' is the same file as {earlier}");
        }
    }

    private async ValueTask<MergedBitmapReader> OpenMergedAsync(string name, List<FaultLog> logs, CancellationToken cancellationToken)
    {
        BitmapVerdict verdict = await JudgeBitmapAsync(name, cancellationToken: cancellationToken).ConfigureAwait(false);
        if (!verdict.IsValid)
        {
            throw new BitmapStateException(name, verdict.ToString());
        }

        var sources = new List<IBitmapPages>();
        foreach (int index in verdict.Images)
        {
            BitmapCollection bitmaps = _layers[index].Image!.Bitmaps;
            logs.Add(bitmaps.NewLog());
            sources.Add(await bitmaps.OpenPagesAsync(name, logs[^1], cancellationToken).ConfigureAwait(false));
        }

        sources.Add(HiddenByShorterLayers(verdict.Images[^1], sources[0].GranularityBits));
        return new MergedBitmapReader(sources, _layers[0].VirtualSizeBytes, sources[0].GranularityBits);
    }

    /// <summary>
    /// What a layer that is shorter than one below it hides: behind its end the disk reads zeros, though nobody wrote them. Since the bitmap was
    /// made, in the lowest image that holds it, that is a change like any other.
    /// </summary>
    private DirtyBitmap HiddenByShorterLayers(int lowestHolder, int granularityBits)
    {
        long size = _layers[0].VirtualSizeBytes;
        var hidden = new DirtyBitmap(size, 1L << granularityBits);
        long longestBelow = _layers[lowestHolder].VirtualSizeBytes;
        for (int i = lowestHolder - 1; i > 0; i--)
        {
            long end = Math.Min(longestBelow, size);
            long start = _layers[i].VirtualSizeBytes;
            if (start < end)
            {
                hidden.Set(start, end - start);
            }

            longestBelow = Math.Max(longestBelow, start);
        }

        return hidden;
    }
}
