namespace Qcow2Bitmaps.Operations;

/// <summary>The space that an image occupies before an operation on its chain, and at most needs during and after it.</summary>
public sealed record ImageRoom
{
    internal ImageRoom(string image, long currentBytes, long requiredBytes) =>
        (Image, CurrentBytes, RequiredBytes) = (image, currentBytes, requiredBytes);

    /// <summary>The image's path.</summary>
    public string Image { get; }

    /// <summary>Its length; on a block device where its last cluster in use ends. 0 where it is still to be made.</summary>
    public long CurrentBytes { get; }

    /// <summary>The length that it needs, in whole clusters: never less than the current one.</summary>
    public long RequiredBytes { get; }

    /// <summary>By how many bytes it grows.</summary>
    internal long AdditionalBytes => RequiredBytes - CurrentBytes;
}
