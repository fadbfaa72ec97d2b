namespace Qcow2Bitmaps;

/// <summary>One thing that a check found.</summary>
/// <param name="Kind">What it means.</param>
/// <param name="Message">What it is, in qemu-img's words where it has them.</param>
public sealed record CheckFinding(CheckFindingKind Kind, string Message);
