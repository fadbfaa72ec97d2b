namespace Qcow2Bitmaps;

/// <summary>How bitmaps are handled when an image's disk is copied.</summary>
public enum BitmapCopying
{
    /// <summary>Bitmaps are not copied.</summary>
    None,
    /// <summary>
    /// Each bitmap of the top image is copied, with the bits of all images of the chain; one that is not valid over the
    /// chain ends the copying before it has begun.
    /// </summary>
    All,
    /// <summary>As <see cref="All"/>, but bitmaps that are not valid are skipped.</summary>
    SkipInvalid,
}
