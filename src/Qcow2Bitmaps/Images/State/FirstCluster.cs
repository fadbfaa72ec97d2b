using System.Buffers.Binary;
using System.Globalization;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.State;

/// <summary>The contents of the first cluster: the header, the extensions, the backing file name.</summary>
internal sealed class FirstCluster
{
    public required Qcow2Header Header { get; init; }

    /// <summary>The bytes; zeros past the end of the file.</summary>
    public required ReadOnlyMemory<byte> Bytes { get; init; }

    public List<RawHeaderExtension> Extensions { get; } = [];

    public string? BackingFile { get; private set; }

    public string? BackingFormat { get; private set; }

    public string? DataFile { get; private set; }

    public CryptoHeaderPointer? CryptoHeader { get; private set; }

    /// <summary>The bitmaps extension, if it exists and its directory can be located. Null for a strict reader when the autoclear bit is
    /// off: QEMU ignores it then.</summary>
    public BitmapsExtension? Bitmaps { get; private set; }

    /// <summary>Reads and checks the first cluster.</summary>
    public static async ValueTask<FirstCluster> ReadAsync(
        ImageStorage storage, Qcow2Limits limits, FaultLog log, CancellationToken cancellationToken)
    {
        byte[] cluster = await ReadBytesAsync(storage, cancellationToken).ConfigureAwait(false);
        if (!Qcow2Header.TryRead(cluster, out Qcow2Header? header, out FormatFault? fault))
        {
            throw log.Fatal(fault!);
        }

        var result = new FirstCluster { Header = header!, Bytes = cluster };
        result.Check(storage.Name, cluster, limits, log);
        result.ReadExtensions(cluster, limits, log);
        result.ReadBackingFile(cluster, limits, log);
        return result;
    }

    /// <summary>
    /// Reads the unencrypted part of the LUKS header, and its faults. Returns neither for an image that is not encrypted with LUKS.
    /// </summary>
    public async ValueTask<(LuksHeader? Header, FormatFault? Fault)> TryReadLuksHeaderAsync(
        ImageStorage storage, CancellationToken cancellationToken)
    {
        if (CryptoHeader is not { } pointer)
        {
            return default;
        }

        var bytes = new byte[LuksHeader.SizeBytes];
        int read = await storage.ReadAsync((long)pointer.Offset, bytes, cancellationToken).ConfigureAwait(false);
        _ = LuksHeader.TryRead(bytes.AsSpan(0, read), pointer.Offset, out LuksHeader? header, out FormatFault? fault);
        return (header, fault);
    }

    private static async ValueTask<byte[]> ReadBytesAsync(ImageStorage storage, CancellationToken cancellationToken)
    {
        var start = new byte[HeaderLayout.MinVersion3Length];
        int read = await storage.ReadAsync(0, start, cancellationToken).ConfigureAwait(false);
        if (read < HeaderLayout.Version2Length)
        {
            return start[..read];
        }

        uint clusterBits = BinaryPrimitives.ReadUInt32BigEndian(start.AsSpan(HeaderLayout.ClusterBits));
        if (clusterBits is < ImageGeometry.MinClusterBits or > ImageGeometry.MaxClusterBits
            || BinaryPrimitives.ReadUInt32BigEndian(start) != Qcow2Header.MagicNumber)
        {
            return start;
        }

        // A file may end inside its first cluster: the rest reads as zeros, as in QEMU.
        var cluster = new byte[1 << (int)clusterBits];
        await storage.ReadZeroFilledAsync(0, cluster, cancellationToken).ConfigureAwait(false);
        return cluster;
    }

    private void Check(string storageName, byte[] cluster, Qcow2Limits limits, FaultLog log)
    {
        foreach (FormatFault fault in Header.CheckFaults(limits))
        {
            if (fault.Code == FaultCode.HeaderUnknownFeature && !log.IsLenient)
            {
                throw new Qcow2UnsupportedException(
                    UnsupportedReason.IncompatibleFeature,
                    $"'{storageName}': Unsupported qcow2 feature(s): {UnknownFeatureNames(cluster)}");
            }

            if (fault.Code == FaultCode.HeaderVirtualSize)
            {
                // No geometry can be computed for such a disk.
                throw log.Fatal(fault);
            }

            log.Report(fault);
        }
    }

    private string UnknownFeatureNames(byte[] cluster)
    {
        ReadOnlySpan<byte> table = default;
        foreach (HeaderExtension extension in Walk(cluster))
        {
            table = extension.Type == HeaderExtensionType.FeatureNames ? extension.Data : table;
        }

        var names = new List<string>();
        ulong unknown = (ulong)Header.UnknownFeatures;
        for (int bit = 0; bit < 64; bit++)
        {
            if ((unknown >> bit & 1) != 0)
            {
                names.Add(FeatureName.TryFindIncompatible(table, bit, out string? name)
                    ? name
                    : string.Create(CultureInfo.InvariantCulture, $"Unknown incompatible feature: {1UL << bit:x}"));
            }
        }

        return string.Join(", ", names);
    }

    private HeaderExtensionEnumerator Walk(ReadOnlySpan<byte> cluster) => new(cluster, Header.HeaderLength, Header.ExtensionAreaEnd);

    private void ReadExtensions(ReadOnlySpan<byte> cluster, Qcow2Limits limits, FaultLog log)
    {
        HeaderExtensionEnumerator walk = Walk(cluster);
        var seen = new HashSet<HeaderExtensionType>();
        while (walk.MoveNext())
        {
            HeaderExtension extension = walk.Current;
            HeaderExtensionType type = extension.Type;
            if (Enum.IsDefined(type) && !seen.Add(type))
            {
                log.Note(Faults.OfHex(
                    FaultCode.ExtensionDuplicate, "header extension", "type", (ulong)(extension.DataOffset - HeaderExtension.HeaderBytes),
                    (uint)type, "once; the last one counts"));
            }

            Extensions.Add(new RawHeaderExtension(type, extension.Data.ToArray(), extension.DataOffset));
            Interpret(extension, limits, log);
        }

        log.Report(walk.Fault);
        if (Header.CryptMethod == (uint)EncryptionMethod.Luks && CryptoHeader is null)
        {
            log.Report(
                Faults.Of(
                    FaultCode.ExtensionCryptoHeader, "header", "encryption header pointers", Header.HeaderLength, 0,
                    "one, as crypt_method is 2 (LUKS)"));
        }

        if (Header.HasExternalDataFile && DataFile is null)
        {
            // QEMU needs the name only when it opens the data file.
            log.Note(
                Faults.Of(
                    FaultCode.ExtensionDataFile, "header", "external data file names", Header.HeaderLength, 0,
                    "one, as incompatible bit 2 is set"));
        }
    }

    private void Interpret(HeaderExtension extension, Qcow2Limits limits, FaultLog log)
    {
        ulong offset = (ulong)extension.DataOffset;
        FormatFault? fault = null;
        switch (extension.Type)
        {
            case HeaderExtensionType.BackingFormat when extension.Data.Length > limits.MaxBackingFormatNameBytes:
                fault = Faults.Of(
                    FaultCode.ExtensionBackingFormat, "backing format name", "length", offset, extension.Data.Length,
                    $"at most {limits.MaxBackingFormatNameBytes} bytes");
                break;
            case HeaderExtensionType.BackingFormat:
                BackingFormat = ImageText.DecodeUpToNul(extension.Data) is { Length: > 0 } format ? format : null;
                break;
            case HeaderExtensionType.FeatureNames when extension.Data.Length % FeatureName.EntryBytes != 0:
                log.Note(
                    Faults.Of(
                        FaultCode.ExtensionFeatureNames, "feature name table", "length", offset, extension.Data.Length,
                        $"a multiple of {FeatureName.EntryBytes} bytes"));
                break;
            case HeaderExtensionType.DataFileName:
                DataFile = ImageText.DecodeUpToNul(extension.Data);
                break;
            case HeaderExtensionType.CryptoHeader when Header.CryptMethod != (uint)EncryptionMethod.Luks:
                fault = Faults.Of(
                    FaultCode.ExtensionCryptoHeader, "encryption header pointer", "crypt_method of the image", HeaderLayout.CryptMethod,
                    Header.CryptMethod, "2 (LUKS)");
                break;
            case HeaderExtensionType.CryptoHeader:
                CryptoHeader = CryptoHeaderPointer.TryRead(
                    extension.Data, offset, (int)Header.ClusterBits, out CryptoHeaderPointer pointer, out fault)
                    ? pointer
                    : null;
                break;
            case HeaderExtensionType.Bitmaps:
                InterpretBitmaps(extension, limits, log);
                break;
            default:
                break;
        }

        log.Report(fault);
    }

    private void InterpretBitmaps(HeaderExtension extension, Qcow2Limits limits, FaultLog log)
    {
        ulong offset = (ulong)extension.DataOffset;
        Bitmaps = null;
        if (!BitmapsExtension.TryRead(extension.Data, offset, out BitmapsExtension bitmaps, out FormatFault? fault))
        {
            log.Report(fault);
            return;
        }

        bool isAutoclearOff = !Header.AutoclearFeatures.HasFlag(AutoclearFeatures.Bitmaps);
        if (isAutoclearOff)
        {
            log.Note(Faults.OfHex(
                FaultCode.BitmapsExtensionAutoclearOff, "header", "autoclear_features", HeaderLayout.AutoclearFeatures,
                (ulong)Header.AutoclearFeatures,
                "bit 0 set, as there is a bitmaps extension: a program without bitmap support wrote to the image, "
                + "its bitmaps are inconsistent"));
            if (!log.IsLenient)
            {
                // QEMU ignores the extension, whatever its value.
                return;
            }
        }

        if (log.ReportAll(bitmaps.CheckFaults(offset, (int)Header.ClusterBits, limits))
            || (bitmaps.DirectoryOffset is not 0 and <= Faults.MaxOffset
                && bitmaps.DirectorySizeBytes <= (ulong)limits.MaxBitmapDirectoryBytes))
        {
            Bitmaps = bitmaps;
        }
    }

    private void ReadBackingFile(ReadOnlySpan<byte> cluster, Qcow2Limits limits, FaultLog log)
    {
        if (Header.BackingFileOffset == 0 || Header.BackingFileOffset > (ulong)cluster.Length)
        {
            return;
        }

        int available = cluster.Length - (int)Header.BackingFileOffset;
        int allowed = Math.Min(limits.MaxBackingFileNameBytes, available);
        if (Header.BackingFileSize > (uint)allowed)
        {
            log.Report(Faults.Of(
                FaultCode.HeaderBackingFileSize, "header", "backing_file_size", HeaderLayout.BackingFileSize, Header.BackingFileSize,
                $"at most {allowed} bytes"));
            return;
        }

        string name = ImageText.DecodeUpToNul(cluster.Slice((int)Header.BackingFileOffset, (int)Header.BackingFileSize));
        BackingFile = name.Length > 0 ? name : null;
    }
}
