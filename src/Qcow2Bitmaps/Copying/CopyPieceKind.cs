namespace Qcow2Bitmaps.Copying;

/// <summary>What is to be done with a part of the disk.</summary>
internal enum CopyPieceKind
{
    /// <summary>It is read and written.</summary>
    Copy,
    /// <summary>It is known to be zeros.</summary>
    Zero,
    /// <summary>It is read, and written where the target reads otherwise.</summary>
    Compare,
    /// <summary>The target reads the same there: it stands in the same backing file.</summary>
    Skip,
}
