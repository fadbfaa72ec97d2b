using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Creation;

/// <summary>Builds the first cluster of a new image: header, extensions in QEMU's order, the backing file's name.</summary>
internal static class FirstClusterWriter
{
    // Smaller clusters may have no space for the feature-name table, and QEMU omits it.
    private const int MinClusterBytesForFeatureNames = 8 << 10;

    /// <summary>Writes the first cluster; null when it is too small for its names.</summary>
    public static byte[]? TryWrite(Qcow2CreateOptions options, Qcow2Header header, int clusterBits)
    {
        var cluster = new byte[1 << clusterBits];
        header = header with { HeaderLength = (uint)(options.Version == 2 ? HeaderLayout.Version2Length : HeaderLayout.KnownLength) };
        var extensions = new HeaderExtensionWriter(cluster.AsSpan((int)header.HeaderLength));
        if ((options.BackingFormat is { } format && !extensions.TryWrite(HeaderExtensionType.BackingFormat, ImageText.Encode(format)))
            || (options.DataFile is { } dataFile && !extensions.TryWrite(HeaderExtensionType.DataFileName, ImageText.Encode(dataFile)))
            || (options.Version >= 3
                && cluster.Length >= MinClusterBytesForFeatureNames
                && !extensions.TryWrite(HeaderExtensionType.FeatureNames, FeatureName.KnownTable()))
            || !extensions.TryWriteEnd())
        {
            return null;
        }

        if (options.BackingFile is { } name)
        {
            byte[] bytes = ImageText.Encode(name);
            int at = (int)header.HeaderLength + extensions.BytesWritten;
            if (bytes.Length > cluster.Length - at)
            {
                return null;
            }

            bytes.CopyTo(cluster.AsSpan(at));
            header = header with { BackingFileOffset = (ulong)at, BackingFileSize = (uint)bytes.Length };
        }

        header.Write(cluster);
        return cluster;
    }
}
