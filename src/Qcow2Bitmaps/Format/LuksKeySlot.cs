namespace Qcow2Bitmaps;

/// <summary>One key slot of a LUKS1 header, without its salt. Immutable and safe to share between threads.</summary>
public sealed record LuksKeySlot
{
    internal LuksKeySlot()
    {
    }

    /// <summary>Whether the slot holds a key.</summary>
    public required bool IsActive { get; init; }

    /// <summary>The iterations of the password's hash.</summary>
    public required uint Iterations { get; init; }

    /// <summary>The anti-forensic stripes.</summary>
    public required uint Stripes { get; init; }

    /// <summary>Where the key material starts, in bytes from the start of the LUKS header.</summary>
    public required long KeyOffsetBytes { get; init; }
}
