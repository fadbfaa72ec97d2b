using System.Globalization;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>A guest's write of one range.</summary>
/// <param name="Kind">What it does there.</param>
/// <param name="OffsetBytes">Where it starts.</param>
/// <param name="LengthBytes">Its length.</param>
/// <param name="Pattern">The byte that data are made of.</param>
internal sealed record TruthWrite(TruthWriteKind Kind, long OffsetBytes, long LengthBytes, byte Pattern)
{
    /// <summary>As qemu-io's command.</summary>
    public override string ToString()
    {
        string verb = Kind switch
        {
            TruthWriteKind.Zeros => "write -z",
            TruthWriteKind.UnmappedZeros => "write -z -u",
            TruthWriteKind.Discard => "discard",
            _ => string.Create(CultureInfo.InvariantCulture, $"write -P {Pattern}"),
        };
        return string.Create(CultureInfo.InvariantCulture, $"{verb} {OffsetBytes} {LengthBytes}");
    }
}
