using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Creation;

/// <summary>Which options can be combined: qemu-img's rules, in its order and words. Rules without a counterpart there come last.</summary>
internal static class CreationRules
{
    private const string NeedsVersion3 = "only supported with compatibility level 1.1 and above (use version=v3 or greater)";

    /// <summary>
    /// The first rule that is violated; null if the options are valid. Sizes that depend on the layout are checked elsewhere.
    /// </summary>
    public static string? FindFault(Qcow2CreateOptions options) =>
        FindUnknown(options) ?? FindGeometryFault(options) ?? FindCombinationFault(options) ?? FindNameFault(options);

    private static string? FindUnknown(Qcow2CreateOptions options)
    {
        return options.Version is not (2 or 3) ? $"Version {options.Version} is none of 2 and 3"
            : options.BackingFormat is { } format && !ImageFormat.IsKnown(format)
                ? PrintableMessage.Of($"Parameter 'backing-fmt' does not accept value '{format}'")
            : !Enum.IsDefined(options.Preallocation) ? $"Preallocation {options.Preallocation} is none of off, metadata, falloc and full"
            : !Enum.IsDefined(options.CompressionType) ? $"Compression type {options.CompressionType} is none of zlib and zstd"
            : null;
    }

    private static string? FindGeometryFault(Qcow2CreateOptions options)
    {
        if (options.ExtendedL2 && options.Version < 3)
        {
            return "Extended L2 entries are " + NeedsVersion3;
        }

        if (!IsPowerOfTwo(options.ClusterSizeBytes, 1 << ImageGeometry.MinClusterBits, 1 << ImageGeometry.MaxClusterBits))
        {
            return "Cluster size must be a power of two between 512 and 2048k";
        }

        return options.ExtendedL2 && options.ClusterSizeBytes < 1 << ImageGeometry.MinExtendedL2ClusterBits
            ? "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes"
            : null;
    }

    private static string? FindCombinationFault(Qcow2CreateOptions options)
    {
        bool isVersion2 = options.Version == 2;
        return options is { BackingFile: not null, Preallocation: not Preallocation.Off, ExtendedL2: false }
                ? "Backing file and preallocation can only be used at the same time if extended_l2 is on"
            : options is { BackingFile: null, BackingFormat: not null } ? "Backing format cannot be used without backing file"
            : options is { BackingFile: not null, BackingFormat: null } ? "Backing file specified without backing format"
            : options.LazyRefcounts && isVersion2 ? "Lazy refcounts " + NeedsVersion3
            : !IsPowerOfTwo(options.RefcountBits, 1, 1 << Qcow2Header.MaxRefcountOrder)
                ? "Refcount width must be a power of two and may not exceed 64 bits"
            : options.RefcountBits != 16 && isVersion2
                ? "Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)"
            : options is { DataFileRaw: true, DataFile: null } ? "data-file-raw requires data-file"
            : options is { DataFileRaw: true, BackingFile: not null } ? "Backing file and data-file-raw cannot be used at the same time"
            : options.DataFile is not null && isVersion2 ? "External data files are " + NeedsVersion3
            : options.CompressionType != CompressionType.Zlib && isVersion2 ? "Non-zlib compression type is " + NeedsVersion3
            : options is { KeepDataFile: true, DataFileRaw: false } ? "keep_data_file requires data_file_raw"
            : null;
    }

    private static string? FindNameFault(Qcow2CreateOptions options)
    {
        return FindNameFault("backing file", options.BackingFile)
            ?? FindNameFault("data file", options.DataFile)
            ?? (options.DataFile is { } name && ImagePath.HasProtocol(name)
                ? PrintableMessage.Of($"The data file's name '{name}' starts with a protocol; only files are made")
                : null);
    }

    private static string? FindNameFault(string what, string? name)
    {
        return name is { Length: 0 } ? $"Expected {what} name, got empty string"
            : name is not null && name.Contains('\0', StringComparison.Ordinal) ? $"The {what}'s name holds a NUL character"
            : null;
    }

    private static bool IsPowerOfTwo(long value, long smallest, long largest) =>
        value >= smallest && value <= largest && (value & (value - 1)) == 0;
}
