namespace Qcow2Bitmaps.Copying;

/// <summary>What is to be done with a part of the disk.</summary>
internal enum CopyPieceKind
{
    /// <summary>It is read and written.</summary>
    Copy,
    /// <summary>It is known to be zeros.</summary>
    Zero,
    /// <summary>It is read, and written if the target reads differently.</summary>
    Compare,
    /// <summary>It is not written: the target reads the same there, or the part was not selected.</summary>
    Skip,
}
