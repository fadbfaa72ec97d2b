namespace Qcow2Bitmaps;

/// <summary>One thing that a check found. Immutable.</summary>
public sealed record CheckFinding
{
    internal CheckFinding(CheckFindingKind kind, string message)
    {
        Kind = kind;
        Message = message;
    }

    /// <summary>What it means.</summary>
    public CheckFindingKind Kind { get; }

    /// <summary>What it is, in qemu-img's words where it has them.</summary>
    public string Message { get; }
}
