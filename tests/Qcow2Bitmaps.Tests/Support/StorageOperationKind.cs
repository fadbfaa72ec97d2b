namespace Qcow2Bitmaps.Tests.Support;

/// <summary>The kinds of operations that change a storage.</summary>
internal enum StorageOperationKind
{
    Write,
    Flush,
    SetLength,
    Discard,
}
