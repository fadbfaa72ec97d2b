namespace Qcow2Bitmaps;

/// <summary>One key slot of a LUKS1 header, without its salt.</summary>
/// <param name="IsActive">Whether the slot holds a key.</param>
/// <param name="Iterations">The iterations of the password's hash.</param>
/// <param name="Stripes">The anti-forensic stripes.</param>
/// <param name="KeyOffsetBytes">Where the key material starts, in bytes from the start of the LUKS header.</param>
public sealed record LuksKeySlot(bool IsActive, uint Iterations, uint Stripes, long KeyOffsetBytes);
