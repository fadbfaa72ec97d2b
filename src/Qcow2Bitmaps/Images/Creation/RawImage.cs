namespace Qcow2Bitmaps.Images.Creation;

/// <summary>Makes raw images: files that are as long as the disk.</summary>
public static class RawImage
{
    /// <summary>The largest disk, in bytes: QEMU's limit, which no file system reaches.</summary>
    public const long MaxSizeBytes = CreationPlan.MaxSizeBytes;

    /// <summary>Makes a sparse file of zeros; an existing file is overwritten. A block device keeps its bytes and must be large enough.</summary>
    /// <param name="path">The path.</param>
    /// <param name="sizeBytes">The disk's size in bytes, rounded up to whole sectors of 512.</param>
    /// <param name="cancellationToken">Ends the making; a file that was made is removed again.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is negative, or above <see cref="MaxSizeBytes"/>.</exception>
    /// <exception cref="ImageLockedException">Somebody else has the file open.</exception>
    /// <exception cref="NoSpaceException">The block device is too small.</exception>
    /// <exception cref="IOException">The file cannot be made.</exception>
    /// <exception cref="UnauthorizedAccessException">The permissions forbid it.</exception>
    public static async Task CreateAsync(string path, long sizeBytes, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(sizeBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(sizeBytes, MaxSizeBytes);
        NewFile file = NewFile.Create(path);
        await using (file.ConfigureAwait(false))
        {
            await file.FillAsync(CreationPlan.RoundUp(sizeBytes), cancellationToken).ConfigureAwait(false);
            file.Keep();
        }
    }
}
