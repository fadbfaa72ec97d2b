using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>Files that are being made.</summary>
internal static class BackupTargetFile
{
    /// <summary>Whether a path leads to a block device.</summary>
    public static bool IsDevice(string path) => FilePlace.Of(path).IsBlockDevice;

    /// <summary>Waits until all of a file is on disk.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask FlushAsync(string path)
    {
        var file = FileStorage.Open(path, StorageAccess.ReadWrite, ImageLock.None);
        await using (file.ConfigureAwait(false))
        {
            await file.FlushAsync(CancellationToken.None).ConfigureAwait(false);
        }
    }
}
