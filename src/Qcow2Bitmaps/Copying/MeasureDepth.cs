namespace Qcow2Bitmaps;

/// <summary>How closely an operation is looked at beforehand.</summary>
public enum MeasureDepth
{
    /// <summary>All is read, so that zeros are found as the operation will find them. Takes as long as reading the data.</summary>
    Data,
    /// <summary>Tables are read, not data: what stands in a cluster counts as data, also where that is all zeros.</summary>
    Tables,
    /// <summary>Bitmaps only: what becomes of them, and the room for them, without that for data.</summary>
    Bitmaps,
}
