namespace Qcow2Bitmaps.Tests.Fixtures;

/// <summary>A bitmap as QEMU lists it for a fixture.</summary>
public sealed record FixtureBitmap(string Name, long GranularityBytes, bool IsAuto, bool IsInUse);
