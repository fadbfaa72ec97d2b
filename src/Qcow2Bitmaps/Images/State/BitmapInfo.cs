using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>One bitmap as listed in the bitmap directory. Immutable and safe to share between threads.</summary>
public sealed record BitmapInfo
{
    internal BitmapInfo()
    {
    }

    /// <summary>The bitmap's index in the directory, from 0.</summary>
    public required int Index { get; init; }

    /// <summary>The name, as QEMU shows it: it ends at a NUL. Bytes that are not UTF-8 are kept as <see cref="ImageText"/> says;
    /// <see cref="ImageText.Escape"/> makes it printable.</summary>
    public required string Name { get; init; }

    /// <summary>How many bytes of the disk a bit stands for. 0 when a lenient reader found a value outside 2^0..2^62.</summary>
    public required long GranularityBytes { get; init; }

    /// <summary>The flags, as stored.</summary>
    public required BitmapFlags Flags { get; init; }

    /// <summary>What the bitmap can be used for.</summary>
    public required BitmapState State { get; init; }

    /// <summary>Where the bitmap's table starts, in bytes from the start of the file.</summary>
    internal ulong TableOffset { get; init; }

    /// <summary>Entries of the bitmap's table.</summary>
    internal uint TableEntries { get; init; }

    /// <summary>What is wrong with the directory entry. Always empty for a strict reader.</summary>
    public IReadOnlyList<FormatFault> Faults { get; init; } = [];

    /// <summary>The table's length in bytes.</summary>
    internal long TableBytes => ImageGeometry.BytesOfEntries(TableEntries);

    /// <summary>The name, the granularity and the state.</summary>
    public override string ToString() => PrintableMessage.Of($"{Name} ({GranularityBytes}, {State})");
}
