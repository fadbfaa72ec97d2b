namespace Qcow2Bitmaps.Copying;

/// <summary>How thoroughly an operation is measured beforehand.</summary>
internal enum MeasureDepth
{
    /// <summary>All is read, so that zeros are found as the operation will find them. Takes as long as reading the data.</summary>
    Data,
    /// <summary>Only tables are read: allocated clusters count as data, even if they contain only zeros.</summary>
    Tables,
    /// <summary>Bitmaps only: what happens to them, and the space they need, without the space for data.</summary>
    Bitmaps,
}
