using System.CommandLine;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>The cache modes of qemu-img.</summary>
internal static class CacheModes
{
    public static Option<string?> Create() =>
        CommonOptions.Value("-t", "Cache mode. Has no effect: everything is durable at the end", "CACHE");

    /// <summary>The option for a source.</summary>
    public static Option<string?> CreateForSource(string whose) => CommonOptions.Value("-T", $"{whose} cache mode. Has no effect", "CACHE");

    /// <summary>What is wrong with a mode, in qemu-img's words; null if it is valid or absent.</summary>
    public static string? FindFault(string? mode) => IsKnown(mode) ? null : PrintableMessage.Of($"Invalid cache option: {mode}");

    /// <summary>As <see cref="FindFault"/>, but for a source.</summary>
    public static string? FindSourceFault(string? mode) =>
        IsKnown(mode) ? null : PrintableMessage.Of($"Invalid source cache option: {mode}");

    private static bool IsKnown(string? mode) =>
        mode is null or "none" or "off" or "writeback" or "unsafe" or "directsync" or "writethrough";
}
