namespace Qcow2Bitmaps.Images.Editing;

/// <summary>The effect of a change on a page, as far as it is known without reading bits.</summary>
internal enum PageEffect
{
    /// <summary>Nothing.</summary>
    None,
    /// <summary>All bits become clean.</summary>
    MakesClean,
    /// <summary>All bits become dirty.</summary>
    MakesDirty,
    /// <summary>Some bits become dirty.</summary>
    AddsBits,
    /// <summary>Some bits become clean.</summary>
    TakesBits,
}
