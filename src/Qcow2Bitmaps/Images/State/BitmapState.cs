
namespace Qcow2Bitmaps;

/// <summary>What a stored bitmap can be used for.</summary>
public enum BitmapState
{
    /// <summary>Consistent, and recording whenever the image is written: flag <c>auto</c>.</summary>
    Recording,
    /// <summary>Consistent, and not recording.</summary>
    Disabled,
    /// <summary>
    /// Not saved since something was written: flag <c>in-use</c>, or the autoclear bit of all bitmaps is off. The stored bits are
    /// those of the last save. While a process has the image open for writing this is how it should be.
    /// </summary>
    Inconsistent,
}
