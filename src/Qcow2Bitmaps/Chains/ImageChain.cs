using System.Runtime.CompilerServices;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Images.Guest;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>A backing chain: the top image and all images below it, down to one without a backing file.</summary>
/// <remarks>
/// As a disk, it is what the guest sees, or what an internal snapshot of the top image contains. Writes go through
/// <see cref="OpenWriterAsync(CancellationToken)"/>. If an image is shorter than the one above it, the disk reads as zeros beyond its end,
/// whatever the images below contain. Tables and external data files are opened on first use. Thread-safe, but bitmaps
/// must not be read while those of an image of the chain are edited.
/// </remarks>
public sealed partial class ImageChain : Disk
{
    private readonly List<ChainLayer> _layers = [];
    private readonly ChainOpenOptions _options;
    private readonly ChainData _data;

    private ImageChain(ChainOpenOptions options)
    {
        _options = options;
        _data = new ChainData(_layers, options);
    }

    internal ChainOpenOptions Options => _options;

    /// <summary>The images, top first.</summary>
    public IReadOnlyList<ChainLayer> Layers => _layers;

    /// <summary>
    /// The topmost image that another process had open for writing when the chain was opened; null if there was none. That process may hold
    /// bitmaps in memory that no image contains on disk, so no verdict on such a chain proves that all bitmaps are valid.
    /// </summary>
    public ChainLayer? OpenElsewhere => _layers.Find(static layer => layer.IsOpenForWritingElsewhere);

    /// <inheritdoc/>
    public override string Name => _layers[0].Path;

    /// <inheritdoc/>
    public override long SizeBytes => _data.Map?.SizeBytes
        ?? (_data.Snapshot?.DiskSizeBytes is { } then and <= long.MaxValue ? (long)then : _layers[0].VirtualSizeBytes);

    /// <inheritdoc/>
    public override int ClusterBytes => (_layers[0] as Qcow2Layer)?.Image.ClusterSizeBytes ?? SectorBytes;

    /// <summary>All files that are open.</summary>
    internal override IEnumerable<ImageStorage> Storages => _layers.Select(static layer => layer.Storage).Concat(_data.Files);

    /// <summary>The access rights for a file made from the guest data; data files that are not open yet are considered too.</summary>
    internal FileRights Rights => _layers.OfType<Qcow2Layer>()
        .Where(static layer => layer.Image is { Header.HasExternalDataFile: true, DataFile: { } name } && !BackingPath.HasProtocol(name))
        .Aggregate(FileRights.Of(Storages), static (rights, layer) => rights.With(BackingPath.Combine(layer.Path, layer.Image.DataFile!)));

    /// <summary>Opens a chain of files.</summary>
    /// <param name="topPath">The top image.</param>
    /// <param name="options">How; the defaults when null.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The chain, to be disposed.</returns>
    /// <exception cref="Qcow2FormatException">An image is broken.</exception>
    /// <exception cref="Qcow2UnsupportedException">A backing file's name or format is refused, or the chain
    /// is too deep or bites its tail.</exception>
    /// <exception cref="ImageLockedException">Another process is writing one of the images.</exception>
    /// <exception cref="FileNotFoundException">A file does not exist, or the top image does not have the snapshot.</exception>
    /// <exception cref="IOException">A file cannot be opened or read.</exception>
    public static async Task<ImageChain> OpenAsync(
        string topPath, ChainOpenOptions? options = null, CancellationToken cancellationToken = default)
    {
        options ??= ChainOpenOptions.Default;
        var top = FileStorage.Open(topPath, options.AccessOf(0), options.LockOf(0));
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
        var chain = new ImageChain(options);
        try
        {
            await chain.AddAsync(top, options.TopFormat, options.Image, cancellationToken).ConfigureAwait(false);
            chain._data.FindSnapshot();
            while (options.FollowBacking && chain._layers[^1] is Qcow2Layer { Image: { BackingFile: { } name } image } layer)
            {
                int depth = layer.Index + 1;
                if (depth >= options.Image.Limits.MaxChainDepth)
                {
                    throw new Qcow2UnsupportedException(
                        UnsupportedReason.ChainTooDeep, $"The chain has more than {options.Image.Limits.MaxChainDepth} images");
                }

                var reference = new BackingReference(layer.Path, name, image.BackingFormat, depth) { Access = options.AccessOf(depth) };
                ImageStorage storage = await reference.OpenAsync(
                    chain._data.RequireResolver(), options.LockOf(depth), cancellationToken).ConfigureAwait(false);
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

    /// <summary>
    /// Determines how an overlay on a file is created: opens that file and all files below it. Nothing stays open, or is written.
    /// </summary>
    /// <param name="overlayPath">The overlay to be created; the backing file's name is relative to it.</param>
    /// <param name="backingFile">The backing file's name, as it should be stored. It may be in any folder, since the
    /// caller chose it.</param>
    /// <param name="options">How the chain is opened, from the backing file down: its format, its locks, the
    /// folders where files below it may be.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The options for <see cref="Qcow2Image.CreateAsync(string, Qcow2CreateOptions, CancellationToken)"/>, with the size and the
    /// format of the backing file, and its name as the overlay should store it: unchanged, unless it would lead to another file from the
    /// overlay's real location.</returns>
    /// <exception cref="Qcow2UnsupportedException">The name or one below it is refused; the overlay would be part of its own chain; or the
    /// chain would be too deep.</exception>
    /// <exception cref="Qcow2FormatException">An image of the chain is broken.</exception>
    /// <exception cref="IOException">A file cannot be opened or read.</exception>
    public static Task<Qcow2CreateOptions> PlanOverlayAsync(
        string overlayPath, string backingFile, ChainOpenOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(overlayPath);
        ArgumentNullException.ThrowIfNull(backingFile);
        return OverlayBase.InspectAsync(overlayPath, backingFile, options ?? ChainOpenOptions.Default, cancellationToken);
    }

    /// <summary>
    /// Opens the disk of an image, a raw file or a device for writing, with writer locks. Writes are marked in recording bitmaps, as by
    /// <see cref="OpenWriterAsync(CancellationToken)"/>.
    /// </summary>
    /// <param name="path">The image.</param>
    /// <param name="format"><c>qcow2</c> or <c>raw</c>; probed when null.</param>
    /// <param name="options">How its backing files are found, and what locks are taken; the defaults when null.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The disk, which closes the chain when it is disposed.</returns>
    /// <exception cref="Qcow2UnsupportedException">The image cannot be written.</exception>
    /// <inheritdoc cref="OpenAsync(string, ChainOpenOptions, CancellationToken)" path="/exception"/>
    public static async Task<Disk> OpenWriterAsync(
        string path, string? format = null, ChainOpenOptions? options = null, CancellationToken cancellationToken = default)
    {
        options = (options ?? ChainOpenOptions.Default) with { TopFormat = format, WritableLayers = [0] };
        ImageChain chain = await OpenAsync(path, options, cancellationToken).ConfigureAwait(false);
        try
        {
            if (chain._layers[0] is RawLayer)
            {
                return new RawDisk(chain._layers[0].Storage) { Owned = chain };
            }

            GuestWriter writer = await chain.OpenWriterAsync(
                0, marksWrites: true, cancellationToken).ConfigureAwait(false);
            writer.Owned = chain;
            return writer;
        }
        catch
        {
            await chain.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>
    /// Finds images whose file is shorter than their tables require, which were probably not copied completely. Only tables are read.
    /// </summary>
    /// <param name="withDataFiles">Whether external data files are opened and checked too, except those of encrypted images.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>Where files end and where they would have to, by image from the top down. Raw images cannot be checked.</returns>
    /// <exception cref="Qcow2UnsupportedException">A data file's name is refused.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public async Task<ILookup<ChainLayer, FormatFault>> FindTruncationsAsync(
        bool withDataFiles = true, CancellationToken cancellationToken = default)
    {
        var found = new List<(ChainLayer Layer, FormatFault Fault)>();
        bool opens = withDataFiles && _layers.All(static layer => layer is not Qcow2Layer { Image.Encryption: not EncryptionMethod.None });
        foreach (ChainLayer layer in _layers)
        {
            if (layer is not Qcow2Layer { Image: var image })
            {
                continue;
            }

            if (await NamedEnd.FindFaultAsync(image.Handle, cancellationToken).ConfigureAwait(false) is { } fault)
            {
                found.Add((layer, fault));
            }

            if (opens && image.Header.HasExternalDataFile)
            {
                ImageStorage data = (await OpenDataAsync(cancellationToken).ConfigureAwait(false)).DiskOf(layer.Index)!.Data!;
                if (await NamedEnd.FindDataFileFaultAsync(image.Handle, data, cancellationToken).ConfigureAwait(false) is { } dataFault)
                {
                    found.Add((layer, dataFault));
                }
            }
        }

        return found.ToLookup(static one => one.Layer, static one => one.Fault);
    }

    /// <summary>Refuses a chain with an image whose file is shorter than its tables require.</summary>
    /// <exception cref="Qcow2FormatException">There is one.</exception>
    internal async ValueTask RequireWholeAsync(bool withDataFiles, CancellationToken cancellationToken)
    {
        if ((await FindTruncationsAsync(withDataFiles, cancellationToken).ConfigureAwait(false)).FirstOrDefault() is { } first)
        {
            throw new Qcow2FormatException(first.First(), first.Key.Path);
        }
    }

    /// <inheritdoc/>
    public override async ValueTask<long> ListAsync(
        long offsetBytes, long endBytes, List<DiskExtent> extents, CancellationToken cancellationToken = default) =>
        await (await _data.OpenMapAsync(cancellationToken).ConfigureAwait(false)).ListAsync(
            offsetBytes, endBytes, extents, cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        await (await OpenDataAsync(cancellationToken).ConfigureAwait(false)).ReadAsync(
            offsetBytes, buffer, cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    public override async ValueTask ReadAsync(DiskExtent extent, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        await (await OpenDataAsync(cancellationToken).ConfigureAwait(false)).ReadAsync(
            extent, buffer, cancellationToken).ConfigureAwait(false);

    /// <summary>Finds an image of the chain, whatever path leads to it.</summary>
    /// <param name="path">A path to the image.</param>
    /// <returns>Its index; null if it leads to no file, or to one that is not part of the chain.</returns>
    public int? IndexOf(string path)
    {
        try
        {
            return FileStorage.IdentityOf(path) is { } identity
                ? _layers.Find(layer => layer.Storage.Key == identity)?.Index
                : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A name that is too long, or leads through what is no folder: names of protocols are such.
            return null;
        }
    }

    /// <summary>Lists the extents of one image alone, regardless of the images below it.</summary>
    /// <param name="layer">The index of the image, which must not be raw.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The extents, from the start of the image's disk to its end.</returns>
    /// <inheritdoc cref="Disk.ReadAsync(long, Memory{byte}, CancellationToken)" path="/exception"/>
    public async IAsyncEnumerable<DiskExtent> ListOwnAsync(
        int layer, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ChainDisk map = await _data.OpenMapAsync(cancellationToken).ConfigureAwait(false);
        GuestMap own = map.DiskOf(layer)?.Map
            ?? throw new InvalidOperationException(
                PrintableMessage.Of($"'{_layers[layer].Path}' is raw: it has no table of what it holds"));
        var extents = new List<DiskExtent>();
        for (long at = 0; at < own.SizeBytes;)
        {
            extents.Clear();
            at = await own.ListAsync(at, own.SizeBytes, extents, cancellationToken).ConfigureAwait(false);
            foreach (DiskExtent extent in extents)
            {
                yield return extent;
            }
        }
    }

    /// <summary>
    /// Opens a writer for the guest-visible disk. It writes to the top image and its data file. The chain must be opened for writing.
    /// Each write is first marked in the recording bitmaps, which stay valid on disk at any moment; a
    /// <see cref="Backups.Recording.RecordingSession"/> keeps them in memory and is faster.
    /// </summary>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The writer, to be disposed before the chain. Reads through the chain see its writes.</returns>
    /// <exception cref="InvalidOperationException">The top image is raw, has a writer already, is read as a snapshot, or was
    /// opened without its backing file.</exception>
    /// <exception cref="Qcow2UnsupportedException">The top image is open for reading only, an image is encrypted, or the
    /// name of a data file is refused.</exception>
    /// <exception cref="Qcow2FormatException">The top image is corrupt, or its refcounts are unreliable.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public async Task<Disk> OpenWriterAsync(CancellationToken cancellationToken = default) =>
        await OpenWriterAsync(0, marksWrites: true, cancellationToken).ConfigureAwait(false);

    /// <summary>As <see cref="OpenWriterAsync(CancellationToken)"/>, of any image that was opened for writing.</summary>
    /// <param name="layer">The image's index.</param>
    /// <param name="marksWrites">Whether writes are marked in recording bitmaps; false if the bits are set already, or
    /// must not be set.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <param name="getsBacking">Whether the image is about to get another backing file, so that written zeros must be stored even if no
    /// backing file is there yet.</param>
    internal async ValueTask<GuestWriter> OpenWriterAsync(
        int layer, bool marksWrites, CancellationToken cancellationToken, bool getsBacking = false)
    {
        if (_layers[layer] is not Qcow2Layer { Image: var image }
            || _options.TopSnapshot is not null
            || (_layers.Count == layer + 1 && image.BackingFile is not null))
        {
            throw new InvalidOperationException(
                PrintableMessage.Of(
                    $"'{_layers[layer].Path}' cannot be written through this chain: it is raw, read as a snapshot, "
                    + $"or without its backing file"));
        }

        ChainDisk map = await OpenDataAsync(cancellationToken).ConfigureAwait(false);
        // If a backing file is still to be added, unallocated parts read as zeros until then.
        Disk? backing = _layers.Count > layer + 1 ? map.From(layer + 1) : getsBacking ? RawDisk.Empty : null;
        return await GuestWriter.OpenAsync(
            image.Handle, map.DiskOf(layer)!, map.From(layer), backing, marksWrites, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Closes all images.</summary>
    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync().ConfigureAwait(false);
        await _data.DisposeAsync().ConfigureAwait(false);
        foreach (ChainLayer layer in _layers)
        {
            await layer.Storage.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Opens all that is needed to read guest data: tables and data files.</summary>
    /// <inheritdoc cref="Disk.ReadAsync(long, Memory{byte}, CancellationToken)" path="/exception"/>
    internal ValueTask<ChainDisk> OpenDataAsync(CancellationToken cancellationToken) => _data.OpenAsync(cancellationToken);

    internal override async ValueTask<Disk> PrepareAsync(CancellationToken cancellationToken) =>
        await OpenDataAsync(cancellationToken).ConfigureAwait(false);

    internal override StorageIdentity? FileOf(int depth) => _layers[depth].Storage.Key;

    private async ValueTask AddAsync(ImageStorage storage, string? format, Qcow2OpenOptions options, CancellationToken cancellationToken)
    {
        bool isAdded = false;
        try
        {
            RequireNew(storage);
            // Checked before and after the flags are read: if a writer comes or goes in between, they are unreliable.
            bool isOpenElsewhere = storage.IsOpenForWritingElsewhere();
            bool isProbed = format is null;
            format ??= await ImageFormat.ProbeAsync(storage, cancellationToken).ConfigureAwait(false);
            Qcow2Image? image = format switch
            {
                _ when ImageFormat.IsRaw(format) => null,
                ImageFormat.Qcow2 => await Qcow2Image.OpenAsync(storage, options, leaveOpen: true, cancellationToken).ConfigureAwait(false),
                _ => throw new Qcow2UnsupportedException(
                    UnsupportedReason.Format, $"'{storage.Name}' is of format '{format}'; only qcow2 and raw are read"),
            };
            isOpenElsewhere |= storage.IsOpenForWritingElsewhere();
            _layers.Add(
                image is null
                    ? new RawLayer(_layers.Count, storage, isProbed, isOpenElsewhere)
                    : new Qcow2Layer(_layers.Count, storage, image, isProbed, isOpenElsewhere));
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
        if (storage.Key is { } identity && _layers.Find(layer => layer.Storage.Key == identity) is { } earlier)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.ChainLoop, $"The chain contains a loop: '{storage.Name}' is the same file as {earlier}");
        }
    }
}
