using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>A storage that cannot grow has no room for what was asked. Nothing was changed.</summary>
public sealed class NoSpaceException : Qcow2Exception
{
    private const int SectorBytes = 512;

    internal NoSpaceException(PrintableMessage message, long neededBytes, long? availableBytes)
        : base(message)
    {
        NeededBytes = neededBytes;
        AvailableBytes = availableBytes;
    }

    /// <summary>The bytes that are needed, in whole clusters.</summary>
    public long NeededBytes { get; }

    /// <summary>The bytes that are free, in whole clusters, not necessarily in a row; null when they are not known.</summary>
    public long? AvailableBytes { get; }

    /// <summary>
    /// Of a volume, a storage that cannot grow by itself: how many bytes it needs in all, so that it can be extended;
    /// null when that is not known, or it is none.
    /// </summary>
    public long? VolumeBytes { get; private init; }

    /// <summary>Says that a volume is too small, how large it has to be, and that it must be extended first.</summary>
    /// <param name="name">The volume's path.</param>
    /// <param name="requiredBytes">How many bytes it needs in all.</param>
    /// <param name="capacityBytes">How many it has.</param>
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

    /// <summary>As <see cref="OfVolume"/>, where it is known only what the next piece takes.</summary>
    /// <param name="name">The volume's path.</param>
    /// <param name="moreBytes">How many bytes are needed in a row.</param>
    /// <param name="capacityBytes">How many bytes the volume has.</param>
    internal static NoSpaceException OfFullVolume(string name, long moreBytes, long capacityBytes) => new(
        $"'{name}' is too small, no space: {moreBytes} more bytes are needed in a row, so that at least {capacityBytes + moreBytes} are "
        + $"needed in all, "
        + $"{capacityBytes} are there; extend the volume first",
        moreBytes,
        null);
}
