using System.Globalization;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups.Adoption;

/// <summary>
/// What is known of the order of a series without reading the images' data: the backing files that they name, their sizes,
/// and when they were written.
/// </summary>
/// <param name="images">The images, the oldest first.</param>
internal sealed class SeriesOrder(IReadOnlyList<ForeignImage> images)
{
    /// <summary>Refuses a series that is not in order, or not of the disk.</summary>
    /// <param name="diskBytes">The disk's size in bytes.</param>
    /// <param name="isTrusted">Whether nothing will be compared: then a truncated file cannot be distinguished from a disk
    /// that grew since.</param>
    /// <exception cref="BackupException">It is not in order, or not of the disk.</exception>
    public void Require(long diskBytes, bool isTrusted)
    {
        for (int i = 0; i < images.Count; i++)
        {
            RequireBacking(i);
            if (i > 0 && (SizeFault(images[i - 1], images[i]) ?? TimeFault(i)) is { } fault)
            {
                throw new BackupException(fault);
            }
        }

        long last = images[^1].Layer.VirtualSizeBytes;
        if (last > diskBytes)
        {
            throw new BackupException(
                $"{images[^1]} is of a disk of {last} bytes, but the disk has {diskBytes}: it is another disk, or it shrank since, "
                + $"after which a full backup is needed");
        }

        if (isTrusted)
        {
            RequireTelling(diskBytes);
        }
    }

    /// <summary>Refuses what only a comparison could prove.</summary>
    private void RequireTelling(long diskBytes)
    {
        string? fault = images.FirstOrDefault(image => image.Layer.VirtualSizeBytes != diskBytes) is { } other
                ? $"{other} is of a disk of {other.Layer.VirtualSizeBytes} bytes, but the disk has {diskBytes}: whether that grew since, "
                    + $"or the file was cut"
            : images.Skip(1).FirstOrDefault(static image => image.HoldsNoZeros) is { } old
                ? $"{old} is of version 2, and cannot hold zeros: whether anything became zeros"
            : null;
        if (fault is not null)
        {
            throw new BackupException($"{fault}, only a comparison tells");
        }
    }

    private void RequireBacking(int index)
    {
        ForeignImage image = images[index];
        if (image.BackingFile is not { } name
            || (index > 0 && image.BackingIdentity is { } below && below == images[index - 1].Layer.Storage.Key))
        {
            return;
        }

        StorageIdentity? named = image.BackingIdentity;
        string found = $"{image} names '{name}' as its backing file, but "
            + $"{(index == 0 ? "stands first" : $"{images[index - 1]} stands before it")}";
        throw named is null ? Renaming(index, $"{found}; no file has that name")
            : images.FirstOrDefault(other => other.Layer.Storage.Key == named) is null
                ? new BackupException(
                    $"{found}. Expected: '{BackingPath.Combine(image.Path, name)}' right before it; a series starts with a full backup, "
                    + $"which has no backing file")
            : OrderOfNames() is { } order ? new BackupException($"{found}. Expected by the backing files: {Show(order)}")
            : Renaming(index, $"{found}. If it holds what changed since '{name}', leave out what stands between");
    }

    private static string? SizeFault(ForeignImage before, ForeignImage image)
    {
        (long was, long size) = (before.Layer.VirtualSizeBytes, image.Layer.VirtualSizeBytes);
        return size < was
            ? $"{image} is of a disk of {size} bytes, and stands behind {before}, of {was} bytes. Expected: sizes that do not fall. "
                + "The order is wrong, or a file was cut; where the disk shrank in between, take a full backup"
            : null;
    }

    private string? TimeFault(int index)
    {
        (ForeignImage before, ForeignImage image) = (images[index - 1], images[index]);
        // An image that names the previous one as its backing file comes after it, even if either was modified later.
        return image.BackingFile is null && image.LastWrite < before.LastWrite
            ? $"{image} was last written at {Show(image.LastWrite)}, and stands behind {before}, written at "
                + $"{Show(before.LastWrite)}. "
                + $"Expected by the times: {Show(images.OrderBy(static one => one.LastWrite))}. Where a copy has lost them, "
                    + $"give the files their times back (touch -d)"
            : null;
    }

    private BackupException Renaming(int index, string found) => index == 0
        ? new BackupException(
            $"{found}. Expected: a full backup, which has no backing file; give all from the full backup on, oldest first")
        : new BackupException($"{found}. If it holds what changed since {images[index - 1]}, its backing file's name is wrong")
        {
            ExpectedBacking = new BackingReference(
                images[index].Path, Path.GetFileName(images[index - 1].Path), images[index - 1].Layer.Format, depth: 1),
        };

    /// <summary>The order that the backing files form; null if they form none.</summary>
    private List<ForeignImage>? OrderOfNames()
    {
        var order = images.Where(static image => image.BackingFile is null).ToList();
        while (order.Count is > 0 and int count && count < images.Count)
        {
            StorageIdentity? last = order[^1].Layer.Storage.Key;
            List<ForeignImage> next = [.. images.Where(image => image.BackingIdentity is { } named && named == last)];
            if (next.Count != 1 || order.Contains(next[0]))
            {
                return null;
            }

            order.Add(next[0]);
        }

        return order.Count(static image => image.BackingFile is null) == 1 ? order : null;
    }

    private static string Show(IEnumerable<ForeignImage> order) => string.Join(", ", order);

    private static string Show(DateTimeOffset time) => time.ToString("yyyy-MM-dd HH:mm:ss.fffffff'Z'", CultureInfo.InvariantCulture);
}
