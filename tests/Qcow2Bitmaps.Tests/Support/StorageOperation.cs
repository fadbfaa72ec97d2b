using System.Globalization;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>What was done to a storage: a write, a flush, a change of length or a discard.</summary>
/// <param name="Kind">Which of these.</param>
/// <param name="Offset">The first byte of a write or discard.</param>
/// <param name="Length">The bytes of a write or discard, or the new length.</param>
/// <param name="Bytes">What was written.</param>
internal sealed record StorageOperation(StorageOperationKind Kind, long Offset, long Length, byte[] Bytes)
{
    public static StorageOperation Write(long offset, byte[] bytes) => new(StorageOperationKind.Write, offset, bytes.Length, bytes);

    public static StorageOperation Discard(long offset, long length) => new(StorageOperationKind.Discard, offset, length, []);

    public static StorageOperation SetLength(long length) => new(StorageOperationKind.SetLength, 0, length, []);

    public static StorageOperation Flush() => new(StorageOperationKind.Flush, 0, 0, []);

    public override string ToString() => Kind switch
    {
        StorageOperationKind.Flush => "flush",
        StorageOperationKind.SetLength => string.Create(CultureInfo.InvariantCulture, $"length 0x{Length:x}"),
        _ => string.Create(
            CultureInfo.InvariantCulture, $"{(Kind == StorageOperationKind.Write ? "write" : "discard")} 0x{Offset:x}+{Length}"),
    };
}
