using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>One hostile image and what must become of it.</summary>
/// <param name="Name">What is wrong with it.</param>
/// <param name="Build">Makes its bytes.</param>
/// <param name="Code">The fault it is about.</param>
/// <param name="AsQemu">What becomes of it when read as QEMU does.</param>
/// <param name="Lenient">What becomes of it when read leniently.</param>
internal sealed record HostileCase(string Name, Func<byte[]> Build, FaultCode Code, Expected AsQemu, Expected Lenient)
{
    public HostileCase(string name, Func<Patched> build, FaultCode code, Expected asQemu, Expected lenient)
        : this(name, () => build().Bytes, code, asQemu, lenient)
    {
    }

    /// <summary>The fault that a lenient reader tells of, where it is another one.</summary>
    public FaultCode? LenientCode { get; init; }

    public FaultCode CodeFor(Strictness strictness) => strictness == Strictness.Lenient && LenientCode is { } code ? code : Code;

    public Expected For(Strictness strictness) => strictness == Strictness.Lenient ? Lenient : AsQemu;
}
