using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>
/// A storage that cannot grow has too little space for the operation. Nothing was changed, except by a write of guest data, of which a part
/// may have been written.
/// </summary>
public sealed class NoSpaceException : Qcow2Exception
{
    private const int SectorBytes = 512;

    internal NoSpaceException(PrintableMessage message, long neededBytes, long? availableBytes)
        : base(message)
    {
        NeededBytes = neededBytes;
        AvailableBytes = availableBytes;
    }

    /// <summary>
    /// The bytes that are needed, in whole clusters: where <see cref="VolumeBytes"/> is known, all of the volume, else what it lacks.
    /// </summary>
    public long NeededBytes { get; }

    /// <summary>
    /// The bytes that there are, counted as <see cref="NeededBytes"/>; those that are free need not be contiguous. Null when not known.
    /// </summary>
    public long? AvailableBytes { get; }

    /// <summary>
    /// For a volume (a storage that cannot grow by itself): the total size in bytes that it needs, so that it can be extended; null when
    /// the size is not known or the storage is not a volume.
    /// </summary>
    public long? VolumeBytes { get; private init; }

    /// <summary>Reports that a volume is too small and must be extended to a given size first.</summary>
    /// <param name="name">The volume's path.</param>
    /// <param name="requiredBytes">The total size in bytes that it needs.</param>
    /// <param name="capacityBytes">Its size in bytes.</param>
    internal static NoSpaceException OfVolume(string name, long requiredBytes, long capacityBytes)
    {
        // A volume has whole sectors.
        long whole = (requiredBytes + (SectorBytes - 1)) / SectorBytes * SectorBytes;
        return new(
            $"'{name}' is too small, no space: {whole} bytes are needed in all, {capacityBytes} are there; extend the volume first, "
            + $"nothing was written",
            whole,
            capacityBytes)
        {
            VolumeBytes = whole,
        };
    }

    /// <summary>Like <see cref="OfVolume"/>, when only the size of the next allocation is known.</summary>
    /// <param name="name">The volume's path.</param>
    /// <param name="moreBytes">How many contiguous bytes are needed.</param>
    /// <param name="capacityBytes">How many bytes the volume has.</param>
    internal static NoSpaceException OfFullVolume(string name, long moreBytes, long capacityBytes) => new(
        $"'{name}' is too small, no space: {moreBytes} more bytes are needed in a row, so that at least {capacityBytes + moreBytes} are "
        + $"needed in all, "
        + $"{capacityBytes} are there; extend the volume first",
        moreBytes,
        null);
}
