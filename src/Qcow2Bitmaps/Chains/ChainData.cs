using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Guest;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Chains;

/// <summary>Opens, on first use, what is needed to read a chain's guest data: the images' tables and external data files.</summary>
/// <remarks>Thread-safe.</remarks>
/// <param name="layers">The images, top first.</param>
/// <param name="options">How the chain is opened.</param>
internal sealed class ChainData(IReadOnlyList<ChainLayer> layers, ChainOpenOptions options) : IAsyncDisposable
{
    private readonly SemaphoreSlim _opening = new(1, 1);
    private readonly List<ImageStorage> _dataFiles = [];
    private IBackingResolver? _resolver = options.Resolver;
    private ChainDisk? _map;

    /// <summary>The external data files that are open.</summary>
    public IReadOnlyList<ImageStorage> Files => _dataFiles;

    /// <summary>The chain's disk; null until its tables are open.</summary>
    public ChainDisk? Map => Volatile.Read(ref _map);

    /// <summary>The internal snapshot of the top image that is read; null for its active state.</summary>
    public SnapshotInfo? Snapshot { get; private set; }

    /// <summary>Returns the resolver that opens the files named in images.</summary>
    /// <exception cref="Qcow2UnsupportedException">There is no resolver, and the top image is not a file, so that no default resolver
    /// can be derived.</exception>
    public IBackingResolver RequireResolver() => _resolver ??= layers[0].Storage is FileStorage top
        ? FileBackingResolver.ForTop(top.Name, options.AllowedFolders)
        : throw new Qcow2UnsupportedException(
            UnsupportedReason.NoResolver, $"'{layers[0].Path}' is no file: opening the files that it names needs a resolver");

    /// <summary>Opens the images' tables.</summary>
    public async ValueTask<ChainDisk> OpenMapAsync(CancellationToken cancellationToken)
    {
        if (Map is { } opened)
        {
            return opened;
        }

        await _opening.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_map is null)
            {
                var disks = new List<GuestDisk?>();
                foreach (ChainLayer layer in layers)
                {
                    disks.Add(layer is Qcow2Layer { Image: var image }
                        ? await GuestDisk.OpenAsync(
                            image.Handle, layer.Index == 0 ? Snapshot : null, cancellationToken).ConfigureAwait(false)
                        : null);
                }

                Volatile.Write(ref _map, new ChainDisk(layers, disks));
            }

            return _map!;
        }
        finally
        {
            _opening.Release();
        }
    }

    /// <summary>
    /// Opens everything needed to read guest data: the tables, and the external data files, by the same rules as backing files.
    /// </summary>
    public async ValueTask<ChainDisk> OpenAsync(CancellationToken cancellationToken)
    {
        ChainDisk map = await OpenMapAsync(cancellationToken).ConfigureAwait(false);
        if (map.HasAllData)
        {
            return map;
        }

        await _opening.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            foreach (ChainLayer layer in layers)
            {
                if (layer is not Qcow2Layer { Image: var image } || map.HasData(layer.Index))
                {
                    continue;
                }

                if (image.Encryption != EncryptionMethod.None)
                {
                    throw new Qcow2UnsupportedException(
                        UnsupportedReason.Encryption,
                        $"{layer} is encrypted ({image.Encryption}): its guest data are not read; its bitmaps can be");
                }

                ImageStorage data = layer.Storage;
                if (image.Header.HasExternalDataFile)
                {
                    string name = image.DataFile ?? throw new Qcow2FormatException(
                        Faults.Of(
                            FaultCode.ExtensionDataFile, "header", "external data file names", image.Header.HeaderLength, 0,
                            "one, as incompatible bit 2 is set"),
                        layer.Path);
                    var reference = new BackingReference(layer.Path, name, ImageFormat.Raw, layer.Index)
                    {
                        Access = options.AccessOf(layer.Index),
                        IsDataFile = true,
                    };
                    data = await reference.OpenAsync(
                        RequireResolver(), options.LockOf(layer.Index), cancellationToken).ConfigureAwait(false);
                    _dataFiles.Add(data);
                }

                map.SetData(layer.Index, data);
            }

            return map;
        }
        finally
        {
            _opening.Release();
        }
    }

    /// <summary>Finds the requested internal snapshot.</summary>
    /// <exception cref="FileNotFoundException">The top image does not have it.</exception>
    public void FindSnapshot() => Snapshot = options.TopSnapshot is not { } wanted || layers[0] is not Qcow2Layer { Image: var image }
        ? null
        : image.Snapshots.FirstOrDefault(snapshot => string.Equals(snapshot.Id, wanted, StringComparison.Ordinal))
            ?? image.Snapshots.FirstOrDefault(snapshot => string.Equals(snapshot.Name, wanted, StringComparison.Ordinal))
            ?? throw new FileNotFoundException(PrintableMessage.Of($"'{image.Name}' has no snapshot '{wanted}'"));

    /// <summary>Closes the tables and the data files.</summary>
    public async ValueTask DisposeAsync()
    {
        _opening.Dispose();
        _map?.Close();
        foreach (ImageStorage storage in _dataFiles)
        {
            await storage.DisposeAsync().ConfigureAwait(false);
        }
    }
}
