namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>What a guest does to a range.</summary>
internal enum TruthWriteKind
{
    Data,
    Zeros,
    UnmappedZeros,
    Discard,
}
