namespace Qcow2Bitmaps.Storage;

/// <summary>What a storage is opened for.</summary>
public enum StorageAccess
{
    /// <summary>Reading only: nothing is ever written.</summary>
    Read,
    /// <summary>Reading and writing.</summary>
    ReadWrite,
}
