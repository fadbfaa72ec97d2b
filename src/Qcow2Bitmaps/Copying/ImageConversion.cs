using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Copying;

/// <summary>Copies the guest-visible content of disks to another image.</summary>
internal static class ImageConversion
{
    /// <summary>As <see cref="DiskCopy.ConvertAsync"/>.</summary>
    public static async Task<IReadOnlyList<BitmapVerdict>> ConvertAsync(
        IReadOnlyList<Disk> sources, string targetPath, ConversionOptions options, IProgress<OperationProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(sources);
        ArgumentNullException.ThrowIfNull(targetPath);
        ArgumentNullException.ThrowIfNull(options);
        try
        {
            return (await ConvertAsync(sources, options, OpenAsync, progress, cancellationToken).ConfigureAwait(false)).Skipped;
        }
        catch (NoSpaceException e)
        {
            throw await DescribeAsync(sources, targetPath, options, e, cancellationToken).ConfigureAwait(false);
        }

        ValueTask<CopyTarget> OpenAsync(long size) => OpenTargetAsync(sources, targetPath, size, options, cancellationToken);
    }

    /// <summary>As the other one, to a target that is opened once all else is known to be well.</summary>
    /// <returns>The verdicts on skipped bitmaps, and how many bytes of the disk were written.</returns>
    internal static async Task<(IReadOnlyList<BitmapVerdict> Skipped, long WrittenBytes)> ConvertAsync(
        IReadOnlyList<Disk> sources, ConversionOptions options, Func<long, ValueTask<CopyTarget>> openTarget,
        IProgress<OperationProgress>? progress,
        CancellationToken cancellationToken)
    {
        string? fault = options.FindFault() ?? FindFault(sources, options);
        if (fault is not null)
        {
            throw new ArgumentException(fault, nameof(options));
        }

        var disks = new List<Disk>();
        long size = 0;
        foreach (Disk source in sources)
        {
            disks.Add(await source.PrepareAsync(cancellationToken).ConfigureAwait(false));
            long bytes = disks[^1].CheckedSizeBytes;
            size = bytes <= Disk.MaxSizeBytes - size
                ? size + bytes
                : throw IOException.Of($"The disks have more than {Disk.MaxSizeBytes} bytes together, which no disk has");
        }

        var skipped = new List<BitmapVerdict>();
        IReadOnlyList<CarriedBitmap> bitmaps = options.Bitmaps == BitmapCopying.None
            ? []
            : await BitmapSelection.ReadAsync(
                (ImageChain)sources[0], options.Bitmaps == BitmapCopying.SkipInvalid, skipped, cancellationToken).ConfigureAwait(false);
        CopyTarget target = await openTarget(size).ConfigureAwait(false);
        await using (target.ConfigureAwait(false))
        {
            target.RequireRoomFor(bitmaps);
            (int skipFrom, int compareFrom) = RelateBacking(sources[0], target, options);
            var engine = new CopyEngine(target.Disk, options, progress, target.ZeroFromBytes);
            await engine.RunAsync(
                new CopyScope(disks) { SkipFromDepth = skipFrom, CompareFromDepth = compareFrom }, cancellationToken).ConfigureAwait(false);
            await target.CompleteAsync(bitmaps, cancellationToken).ConfigureAwait(false);
            return (skipped, engine.WrittenBytes);
        }
    }

    internal static NoSpaceException TooSmall(long neededBytes, long thereBytes) => new(
        $"output file is smaller than input file: {neededBytes} bytes are needed in all, {thereBytes} are there; extend it first, "
        + $"nothing was written",
        neededBytes, thereBytes);

    /// <summary>
    /// Adds to an out-of-space error how large the volume must be, if a rehearsal in memory can find that: only for a new uncompressed
    /// image that holds all data itself.
    /// </summary>
    private static async ValueTask<NoSpaceException> DescribeAsync(
        IReadOnlyList<Disk> sources, string path, ConversionOptions options, NoSpaceException e, CancellationToken cancellationToken)
    {
        if (e.VolumeBytes is not null
            || options is not { IsQcow2: true, TargetExists: false, Compress: false, Create: { BackingFile: null, DataFile: null } create }
            || !FilePlace.Of(path).IsBlockDevice)
        {
            return e;
        }

        long capacity;
        var look = FileStorage.Open(path, FileAccess.Read, ImageLock.None);
        await using (look.ConfigureAwait(false))
        {
            capacity = look.Length;
        }

        var memory = new RehearsalStorage(MemoryStorage.ReadOnly([], path), isBounded: false);
        await using (memory.ConfigureAwait(false))
        {
            ConversionOptions rehearsed = options with { Rehearses = MeasureDepth.Data };
            await ConvertAsync(
                sources, rehearsed,
                async size => await CopyTarget.CreateInAsync(
                    memory, create with { SizeBytes = size }, rehearsed, cancellationToken).ConfigureAwait(false),
                null, cancellationToken).ConfigureAwait(false);
            return NoSpaceException.OfVolume(
                path, ImageGeometry.DivideRoundingUp(memory.Length, create.ClusterSizeBytes) * create.ClusterSizeBytes, capacity);
        }
    }

    private static string? FindFault(IReadOnlyList<Disk> sources, ConversionOptions options) =>
        sources.Count == 0 ? "Nothing is to be copied"
        : sources[0] is not ImageChain && options.Bitmaps != BitmapCopying.None ? "Bitmaps are copied from chains only"
        : sources.Count > 1 && options.Bitmaps != BitmapCopying.None ? "Copying bitmaps only possible with single source"
        : sources.Count > 1 && (options.TargetHasBacking || options.Create?.BackingFile is not null)
            ? "Having a backing file for the target makes no sense when concatenating multiple input images"
        : null;

    /// <summary>Opens or makes the target.</summary>
    internal static async ValueTask<CopyTarget> OpenTargetAsync(
        IReadOnlyList<Disk> sources, string path, long sizeBytes, ConversionOptions options, CancellationToken cancellationToken)
    {
        RequireNoSource(sources, path);
        FileRights rights = sources.Aggregate(
            FileRights.Plain,
            static (rights, source) => rights.With(source is ImageChain chain ? chain.Rights : FileRights.Of(source.Storages)));
        return options.TargetExists
            ? await CopyTarget.OpenAsync(path, sizeBytes, options, cancellationToken).ConfigureAwait(false)
            : await CopyTarget.CreateAsync(path, sizeBytes, options, rights, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The source's depths from which on down the target reads the same, and from which on down it may.</summary>
    private static (int SkipFrom, int CompareFrom) RelateBacking(Disk source, CopyTarget target, ConversionOptions options)
    {
        if (target.Backing is not { } backing || (options.TargetExists && !options.TargetHasBacking))
        {
            return (int.MaxValue, int.MaxValue);
        }

        // An existing target may contain anything above its backing file.
        int shared = options.TargetExists || source is not ImageChain chain
            ? -1
            : chain.Layers.ToList().FindIndex(1, layer => layer.Storage.Key == backing);
        return shared > 0 ? (shared, int.MaxValue) : (int.MaxValue, 1);
    }

    /// <summary>Locks are not enough: sources read with shared locks allow a writer.</summary>
    private static void RequireNoSource(IReadOnlyList<Disk> sources, string targetPath)
    {
        if (FileStorage.IdentityOf(targetPath) is not { } identity)
        {
            return;
        }

        // A disk of somebody else's making says what it is, and not which files it reads.
        string? same = sources.SelectMany(static source => source.Storages).FirstOrDefault(storage => storage.Key == identity)?.Name
            ?? sources.FirstOrDefault(source => source.Identity.Equals(identity.Value))?.Name;
        if (same is not null)
        {
            throw IOException.Of($"'{targetPath}' cannot be written: it is the same file as '{same}', which is copied");
        }
    }
}
