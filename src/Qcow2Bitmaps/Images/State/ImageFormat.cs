using System.Buffers.Binary;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>The names of supported image formats, and detection of an image's format when it is not given.</summary>
public static class ImageFormat
{
    /// <summary>A qcow2 image.</summary>
    public const string Qcow2 = "qcow2";

    /// <summary>A raw image: the disk's bytes, unchanged.</summary>
    public const string Raw = "raw";

    private const int ProbedBytes = 512;

    // The magic bytes that QEMU probes for, and their offsets. Such files are not supported, but must not be treated as raw disks either.
    private static readonly (string Format, int Offset, byte[] Magic)[] s_others =
    [
        ("qcow", 0, [0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 1]),
        ("vmdk", 0, "KDMV"u8.ToArray()),
        ("vmdk", 0, "COWD"u8.ToArray()),
        ("vmdk", 0, "# Disk DescriptorFile"u8.ToArray()),
        ("vdi", 64, [0x7f, 0x10, 0xda, 0xbe]),
        ("vhdx", 0, "vhdxfile"u8.ToArray()),
        ("vpc", 0, "conectix"u8.ToArray()),
        ("qed", 0, "QED\0"u8.ToArray()),
        ("luks", 0, [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]),
        ("parallels", 0, "WithoutFreeSpace"u8.ToArray()),
        ("parallels", 0, "WithouFreSpacExt"u8.ToArray()),
    ];

    // QEMU 7.2 has one more, copy-before-write: it does not fit into the format field of an image, and QEMU truncates it.
    private static readonly HashSet<string> s_drivers = new(StringComparer.Ordinal)
    {
        Qcow2, Raw, "blkdebug", "blklogwrites", "blkverify", "bochs", "cloop", "compress", "copy-on-read", "dmg", "file", "ftp", "ftps",
        "gluster", "host_cdrom", "host_device", "http", "https",
        "iscsi", "nbd", "nfs", "null-aio", "null-co", "nvme", "preallocate", "quorum", "rbd", "replication", "snapshot-access", "ssh",
        "throttle", "vvfat",
    };

    /// <summary>
    /// Whether a name is QEMU's name of a disk image format, or of another driver that can be given as one: it may be stored as a backing
    /// file's format.
    /// </summary>
    /// <param name="name">The name.</param>
    public static bool IsKnown(string name) =>
        s_drivers.Contains(name) || Array.Exists(s_others, other => string.Equals(other.Format, name, StringComparison.Ordinal));

    /// <summary>
    /// Whether images of a format contain the disk's bytes unchanged: QEMU also accepts the drivers of files and host devices, which lie
    /// below raw, as one.
    /// </summary>
    /// <param name="name">The format, as stored for a backing file.</param>
    internal static bool IsRaw(string name) => name is Raw or "file" or "host_device" or "host_cdrom";

    /// <summary>Probes for the magic bytes of qcow2 and other disk image formats; everything else counts as raw.</summary>
    /// <param name="storage">The storage.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns><see cref="Qcow2"/>, <see cref="Raw"/>, or QEMU's name of an unsupported format.</returns>
    /// <exception cref="IOException">The storage failed.</exception>
    /// <remarks>A guest can write any first bytes to its raw disk: state the format of a raw disk whose guest is not trusted.</remarks>
    public static async Task<string> ProbeAsync(ImageStorage storage, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(storage);
        var start = new byte[ProbedBytes];
        int read = await storage.ReadAsync(0, start, cancellationToken).ConfigureAwait(false);
        return Probe(start.AsSpan(0, read));
    }

    private static string Probe(ReadOnlySpan<byte> start)
    {
        // QEMU also checks the version: version 1 is another format.
        if (start.Length >= 2 * sizeof(uint)
            && BinaryPrimitives.ReadUInt32BigEndian(start) == Qcow2Header.MagicNumber
            && BinaryPrimitives.ReadUInt32BigEndian(start[sizeof(uint)..]) >= 2)
        {
            return Qcow2;
        }

        foreach ((string format, int offset, byte[] magic) in s_others)
        {
            if (start.Length > offset && start[offset..].StartsWith(magic))
            {
                return format;
            }
        }

        return Raw;
    }
}
