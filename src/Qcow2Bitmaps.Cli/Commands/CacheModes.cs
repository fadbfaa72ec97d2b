namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>The cache modes of qemu-img.</summary>
internal static class CacheModes
{
    public static bool IsKnown(string mode) => mode is "none" or "off" or "writeback" or "unsafe" or "directsync" or "writethrough";
}
