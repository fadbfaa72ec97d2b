namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>Which bitmaps a start image has.</summary>
public enum Population
{
    /// <summary>None.</summary>
    None,
    /// <summary>None that counts: the extension is there with the autoclear bit off.</summary>
    Ignored,
    /// <summary>One, <c>a</c>.</summary>
    One,
    /// <summary>
    /// <c>a</c>, <c>same</c>, <c>fine</c> and <c>coarse</c> by their granularity, <c>off</c> which is disabled and all
    /// dirty, <c>broken</c> which is inconsistent.
    /// </summary>
    Several,
}
