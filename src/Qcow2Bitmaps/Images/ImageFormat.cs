using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images;

/// <summary>The names of the formats that images here have, and how an image's format is found when nobody says it.</summary>
public static class ImageFormat
{
    /// <summary>A qcow2 image.</summary>
    public const string Qcow2 = "qcow2";

    /// <summary>The disk's bytes as they are.</summary>
    public const string Raw = "raw";

    /// <summary>Looks for qcow2's magic bytes; everything else counts as raw.</summary>
    /// <param name="storage">The storage.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns><see cref="Qcow2"/> or <see cref="Raw"/>.</returns>
    /// <exception cref="IOException">The storage failed.</exception>
    /// <remarks>A guest can write any first bytes to its raw disk: state the format of a raw disk whose guest is not trusted.</remarks>
    public static async ValueTask<string> ProbeAsync(ImageStorage storage, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(storage);
        var start = new byte[2 * sizeof(uint)];
        int read = await storage.ReadAsync(0, start, cancellationToken).ConfigureAwait(false);
        // QEMU looks at the version too: version 1 is another format.
        return read == start.Length
            && BinaryPrimitives.ReadUInt32BigEndian(start) == Qcow2Header.MagicNumber
            && BinaryPrimitives.ReadUInt32BigEndian(start.AsSpan(sizeof(uint))) >= 2
            ? Qcow2
            : Raw;
    }
}
