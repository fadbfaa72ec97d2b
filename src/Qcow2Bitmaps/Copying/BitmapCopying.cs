namespace Qcow2Bitmaps;

/// <summary>What is done about the bitmaps of an image whose disk is copied.</summary>
public enum BitmapCopying
{
    /// <summary>They are left behind.</summary>
    None,
    /// <summary>
    /// Each bitmap of the top image is copied, with the bits of all images of the chain; one that is not valid over the
    /// chain ends the copying before it has begun.
    /// </summary>
    All,
    /// <summary>Those that are not valid are left behind.</summary>
    SkipInvalid,
}
