using System.Numerics;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Creation;

/// <summary>Everything that is decided about a new image before writing: its options, its layout, its first cluster.</summary>
internal sealed class CreationPlan
{
    private const int SectorBytes = 512;
    private const string TooLarge = "The image size is too large for file format 'qcow2' (try using a larger cluster size)";

    private CreationPlan(Qcow2CreateOptions options, ImageGeometry geometry, CreationLayout layout, byte[] firstCluster)
    {
        Options = options;
        Geometry = geometry;
        Layout = layout;
        FirstCluster = firstCluster;
    }

    public Qcow2CreateOptions Options { get; }

    public ImageGeometry Geometry { get; }

    public CreationLayout Layout { get; }

    public byte[] FirstCluster { get; }

    /// <summary>Makes the plan.</summary>
    /// <exception cref="ArgumentException">The options do not go together.</exception>
    /// <exception cref="Qcow2UnsupportedException">The disk, whose size may be another image's, is too large for them.</exception>
    public static CreationPlan Make(Qcow2CreateOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return TryMake(options, out string? fault) ?? throw (string.Equals(fault, TooLarge, StringComparison.Ordinal)
            ? new Qcow2UnsupportedException(UnsupportedReason.Limit, TooLarge)
            : new ArgumentException(fault, nameof(options)));
    }

    /// <summary>Makes the plan, or reports why it is impossible.</summary>
    public static CreationPlan? TryMake(Qcow2CreateOptions options, out string? fault)
    {
        fault = CreationRules.FindFault(options);
        if (fault is not null)
        {
            return null;
        }

        // First checks the size without the backing file's name, as QEMU adds that at the end.
        if (FirstClusterWriter.TryWrite(
            options with { BackingFile = null, BackingFormat = null }, new Qcow2Header { Version = options.Version },
            ClusterBitsOf(options)) is null)
        {
            fault = "Could not update qcow2 header: No space left on device";
            return null;
        }

        if (FindSizeFault(options.SizeBytes) is { } sizeFault)
        {
            fault = sizeFault;
            return null;
        }

        var geometry = new ImageGeometry(
            ClusterBitsOf(options), RoundUp(options.SizeBytes), BitOperations.Log2((ulong)options.RefcountBits), options.ExtendedL2);
        Qcow2Limits limits = Qcow2Limits.Default;
        CreationLayout? layout = geometry.L1EntriesNeeded > limits.MaxL1TableBytes / ImageGeometry.TableEntryBytes
            ? null
            : CreationLayout.TryFind(geometry, options, limits);
        if (layout is null)
        {
            fault = TooLarge;
            return null;
        }

        byte[]? firstCluster = FirstClusterWriter.TryWrite(options, HeaderOf(options, geometry, layout), geometry.ClusterBits);
        bool isNameTooLong = options.BackingFile is { } name && ImageText.Encode(name).Length > limits.MaxBackingFileNameBytes;
        if (firstCluster is null || isNameTooLong)
        {
            fault = PrintableMessage.Of(
                $"Could not assign backing file '{options.BackingFile}' with format '{options.BackingFormat}': "
                + $"{(isNameTooLong ? "Invalid argument" : "No space left on device")}");
            return null;
        }

        return new CreationPlan(options, geometry, layout, firstCluster);
    }

    /// <summary>Whole sectors, as QEMU counts.</summary>
    /// <param name="bytes">Not negative, and not within a sector of the largest number.</param>
    public static long RoundUp(long bytes) => ImageGeometry.DivideRoundingUp(bytes, SectorBytes) * SectorBytes;

    private static string? FindSizeFault(long bytes)
    {
        if (bytes is < 0 or > long.MaxValue - SectorBytes + 1)
        {
            return "Could not resize image: Image size cannot be negative";
        }

        long size = RoundUp(bytes);
        return size > Disk.MaxSizeBytes ? $"Could not resize image: offset({size}) exceeds maximum({Disk.MaxSizeBytes})" : null;
    }

    private static int ClusterBitsOf(Qcow2CreateOptions options) => BitOperations.Log2((ulong)options.ClusterSizeBytes);

    private static Qcow2Header HeaderOf(Qcow2CreateOptions options, ImageGeometry geometry, CreationLayout layout)
    {
        ulong At(long cluster) => (ulong)(cluster << geometry.ClusterBits);
        return new Qcow2Header
        {
            Version = options.Version,
            ClusterBits = (uint)geometry.ClusterBits,
            VirtualSize = (ulong)geometry.VirtualSizeBytes,
            L1Size = (uint)geometry.L1EntriesNeeded,
            L1TableOffset = At(layout.L1FirstCluster),
            RefcountTableOffset = At(1),
            RefcountTableClusters = (uint)layout.RefcountTableClusters,
            IncompatibleFeatures =
                (options.DataFile is not null ? IncompatibleFeatures.ExternalDataFile : IncompatibleFeatures.None)
                | (options.CompressionType != CompressionType.Zlib ? IncompatibleFeatures.CompressionType : IncompatibleFeatures.None)
                | (options.ExtendedL2 ? IncompatibleFeatures.ExtendedL2 : IncompatibleFeatures.None),
            CompatibleFeatures = options.LazyRefcounts ? CompatibleFeatures.LazyRefcounts : CompatibleFeatures.None,
            AutoclearFeatures = options.DataFileRaw ? AutoclearFeatures.RawExternalData : AutoclearFeatures.None,
            RefcountOrder = (uint)geometry.RefcountOrder,
            CompressionType = options.CompressionType,
        };
    }
}
