namespace Qcow2Bitmaps.Operations;

/// <summary>The room that an image takes before an operation on its chain, and at most while that goes on and afterwards.</summary>
/// <param name="Image">The image's path.</param>
/// <param name="CurrentBytes">Its length; on a block device where its last cluster in use ends. 0 where it is still to be made.</param>
/// <param name="RequiredBytes">The length that it needs, in whole clusters.</param>
public sealed record ImageRoom(string Image, long CurrentBytes, long RequiredBytes)
{
    /// <summary>By how many bytes it grows.</summary>
    public long AdditionalBytes => Math.Max(0, RequiredBytes - CurrentBytes);
}
