using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Chains;

/// <summary>What an image says about its backing file. Untrusted: it is whatever stands in the image.</summary>
/// <param name="ImagePath">The path of the image that says it, as it was opened.</param>
/// <param name="FileName">The backing file's name.</param>
/// <param name="Format">The backing file's format; null when the image does not say.</param>
/// <param name="Depth">The backing file's index in the chain, counted from the top image, which is 0.</param>
public sealed record BackingReference(string ImagePath, string FileName, string? Format, int Depth)
{
    /// <summary>What the file is opened for.</summary>
    public StorageAccess Access { get; init; } = StorageAccess.Read;
}
