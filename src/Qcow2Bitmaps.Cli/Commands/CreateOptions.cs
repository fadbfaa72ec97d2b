using Qcow2Bitmaps.Cli.Options;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>The options of <c>create -o</c>, and what they mean.</summary>
internal static class CreateOptions
{
    /// <summary>QEMU's name of the driver below raw: its images are raw ones.</summary>
    public const string File = "file";

    public const string Size = "size";
    public const string BackingFile = "backing_file";
    public const string BackingFormat = "backing_fmt";
    public const string DataFile = "data_file";
    public const string KeepDataFile = "keep_data_file";

    private const string NoEncryption = "Encryption is not supported";

    private const string ClusterSize = "cluster_size";
    private const string Compat = "compat";
    private const string CompressionTypeName = "compression_type";
    private const string DataFileRaw = "data_file_raw";
    private const string Encryption = "encryption";
    private const string ExtendedL2 = "extended_l2";
    private const string ExtentSizeHint = "extent_size_hint";
    private const string LazyRefcounts = "lazy_refcounts";
    private const string NoCopyOnWrite = "nocow";
    private const string PreallocationName = "preallocation";
    private const string RefcountBits = "refcount_bits";

    private static readonly string[] s_encryption =
    [
        "encrypt.format", "encrypt.key-secret", "encrypt.cipher-alg", "encrypt.cipher-mode", "encrypt.ivgen-alg", "encrypt.ivgen-hash-alg",
        "encrypt.hash-alg", "encrypt.iter-time",
    ];

    /// <summary>qcow2's, in the order in which qemu-img shows their values.</summary>
    public static OptionDescription[] Qcow2 { get; } =
    [
        new(Encryption, OptionKind.Boolean, null),
        .. s_encryption.Select(static name => new OptionDescription(name, OptionKind.Text, null)),
        new(ClusterSize, OptionKind.Size, "qcow2 cluster size", "65536"),
        new(ExtendedL2, OptionKind.Boolean, "Extended L2 tables", "off"),
        new(PreallocationName, OptionKind.Text, "Preallocation mode (allowed values: off, metadata, falloc, full)"),
        new(CompressionTypeName, OptionKind.Text, "Compression method used for image cluster compression", "zlib"),
        new(Size, OptionKind.Size, "Virtual disk size"),
        new(Compat, OptionKind.Text, "Compatibility level (v2 [0.10] or v3 [1.1])"),
        new(BackingFile, OptionKind.Text, "File name of a base image"),
        new(BackingFormat, OptionKind.Text, "Image format of the base image"),
        new(DataFile, OptionKind.Text, "File name of an external data file"),
        new(DataFileRaw, OptionKind.Boolean, "The external data file must stay valid as a raw image"),
        new(KeepDataFile, OptionKind.Boolean, "The external data file exists and is kept as it is; needs data_file_raw"),
        new(LazyRefcounts, OptionKind.Boolean, "Postpone refcount updates", "off"),
        new(RefcountBits, OptionKind.Number, "Width of a reference count entry in bits", "16"),
        new(NoCopyOnWrite, OptionKind.Boolean, null),
        new(ExtentSizeHint, OptionKind.Size, null),
    ];

    /// <summary>Those of raw files.</summary>
    public static OptionDescription[] Raw { get; } =
    [
        new(Size, OptionKind.Size, "Virtual disk size"),
        new(NoCopyOnWrite, OptionKind.Boolean, null),
        new(PreallocationName, OptionKind.Text, "Preallocation mode (allowed values: off, falloc, full)"),
        new(ExtentSizeHint, OptionKind.Size, null),
    ];

    /// <summary>The requested feature that qemu-img supports and this tool does not; null if there is none.</summary>
    public static string? FindUnsupported(OptionList options) =>
        options.IsOn(Encryption) || Array.Exists(s_encryption, options.Has) ? NoEncryption
        : options.IsOn(NoCopyOnWrite) ? "nocow=on is not supported"
        : options.Number(ExtentSizeHint) != 0 ? "An extent size hint is not supported"
        : null;

    /// <summary>Interprets the options of qcow2; null if one is invalid.</summary>
    public static Qcow2CreateOptions? ToQcow2(OptionList options, out string? fault)
    {
        // In the order in which qemu-img looks at them.
        int version = 3;
        Preallocation preallocation = Preallocation.Off;
        CompressionType compressionType = CompressionType.Zlib;
        fault = ParseVersion(options.Text(Compat), out version)
            ?? (options.Text(BackingFormat) is { } format && !ImageFormat.IsKnown(format) ? NotAccepted("backing-fmt", format) : null)
            ?? ParsePreallocation(options.Text(PreallocationName), out preallocation)
            ?? (FitsSigned(options, RefcountBits) ? null : "Parameter 'refcount-bits' expects integer")
            ?? ParseCompressionType(options.Text(CompressionTypeName)!, out compressionType);
        return fault is not null ? null : new Qcow2CreateOptions
        {
            SizeBytes = Signed(options, Size),
            Version = version,
            ClusterSizeBytes = (long)Math.Min(options.Number(ClusterSize), long.MaxValue),
            RefcountBits = Signed(options, RefcountBits),
            ExtendedL2 = options.IsOn(ExtendedL2),
            CompressionType = compressionType,
            LazyRefcounts = options.IsOn(LazyRefcounts),
            BackingFile = options.Text(BackingFile),
            BackingFormat = options.Text(BackingFormat),
            DataFile = options.Text(DataFile),
            DataFileRaw = options.IsOn(DataFileRaw),
            KeepDataFile = options.IsOn(KeepDataFile),
            Preallocation = preallocation,
        };
    }

    /// <summary>Options of qcow2 that affect the needed space; null if one is invalid. Others may be anything, as in qemu-img.</summary>
    public static Qcow2CreateOptions? ToMeasured(OptionList options, out string? fault)
    {
        int version = 3;
        Preallocation preallocation = Preallocation.Off;
        fault = ParseVersion(options.Text(Compat), out version) is not null
            ? PrintableMessage.Of($"Invalid compatibility level: '{options.Text(Compat)}'")
            : ParsePreallocation(options.Text(PreallocationName), out preallocation) is not null
                ? PrintableMessage.Of($"invalid parameter value: {options.Text(PreallocationName)}")
            : Array.Exists(s_encryption, options.Has) ? NoEncryption
            : null;
        // With a backing file, any part of the disk may have to be written. Only its presence matters, not its name.
        bool hasBacking = options.Has(BackingFile);
        return fault is not null ? null : new Qcow2CreateOptions
        {
            SizeBytes = Signed(options, Size),
            Version = version,
            ClusterSizeBytes = (long)Math.Min(options.Number(ClusterSize), long.MaxValue),
            RefcountBits = Signed(options, RefcountBits),
            ExtendedL2 = options.IsOn(ExtendedL2),
            BackingFile = hasBacking ? BackingFile : null,
            BackingFormat = hasBacking ? ImageFormat.Raw : null,
            Preallocation = preallocation,
        };
    }

    /// <summary>What is wrong with the preallocation of a raw file; null when nothing is.</summary>
    public static string? FindRawFault(OptionList options, out Preallocation preallocation) =>
        !PreallocationModes.TryParse(options.Text(PreallocationName) ?? PreallocationModes.Off, out preallocation)
            ? PrintableMessage.Of($"invalid parameter value: {options.Text(PreallocationName)}")
        : preallocation == Preallocation.Metadata ? "Unsupported preallocation mode: metadata"
        : null;

    /// <summary>QEMU accepts 64-bit numbers, wraps negative ones around, and finally treats some as signed.</summary>
    private static long Signed(OptionList options, string name) => unchecked((long)options.Number(name));

    private static bool FitsSigned(OptionList options, string name) =>
        Signed(options, name) == 0 || Signed(options, name) < 0 == options.Text(name)!.Contains('-', StringComparison.Ordinal);

    private static string? ParseVersion(string? text, out int version)
    {
        version = text is "0.10" or "v2" ? 2 : 3;
        return text is null or "0.10" or "v2" or "1.1" or "v3" ? null : NotAccepted("version", text);
    }

    private static string? ParsePreallocation(string? text, out Preallocation preallocation) =>
        PreallocationModes.TryParse(text ?? PreallocationModes.Off, out preallocation) ? null : NotAccepted(PreallocationName, text!);

    private static string? ParseCompressionType(string text, out CompressionType type)
    {
        type = text is "zstd" ? CompressionType.Zstd : CompressionType.Zlib;
        return text is "zlib" or "zstd" ? null : NotAccepted("compression-type", text);
    }

    private static string NotAccepted(string name, string value) =>
        PrintableMessage.Of($"Parameter '{name}' does not accept value '{value}'");
}
