namespace Qcow2Bitmaps.Benchmarks.Reporting;

/// <summary>States how many bytes one operation of a benchmark processes, for <see cref="BytesPerSecondColumn"/>.</summary>
/// <param name="bytes">The bytes, whatever the parameters.</param>
[AttributeUsage(AttributeTargets.Class | AttributeTargets.Method)]
internal sealed class BytesPerOperationAttribute(long bytes) : Attribute
{
    /// <summary>The bytes that do not depend on a parameter.</summary>
    public long Bytes { get; } = bytes;

    /// <summary>Bytes for each unit of a parameter, on top.</summary>
    public long PerUnit { get; init; }

    /// <summary>The name of the parameter that counts the units; null without one.</summary>
    public string? UnitParameter { get; init; }
}
