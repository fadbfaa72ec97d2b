using Qcow2Bitmaps.Compression;

namespace Qcow2Bitmaps.Tests.Compression;

/// <summary>Compressed data for a cluster of 4 KiB, and what is wrong with them.</summary>
/// <param name="Name">What it is about.</param>
/// <param name="Data">The compressed data.</param>
/// <param name="Fault">What we say.</param>
/// <param name="QemuMayDiffer">Whether QEMU's library does not check it in some versions.</param>
internal sealed record ZstdCase(string Name, byte[] Data, CompressionFault Fault = CompressionFault.None, bool QemuMayDiffer = false)
{
    public const int ClusterBits = 12;
    public const int ClusterBytes = 1 << ClusterBits;

    public override string ToString() => Name;
}
