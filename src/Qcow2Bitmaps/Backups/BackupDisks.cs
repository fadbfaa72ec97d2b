using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images.Guest;

namespace Qcow2Bitmaps.Backups;

/// <summary>The images of a backup and of those below it, each opened alone, whatever backing files they name.</summary>
/// <param name="backups">The backup, then what it is based on.</param>
internal sealed class BackupDisks(IReadOnlyList<StoredBackup> backups) : IAsyncDisposable
{
    private readonly List<ImageChain> _images = [];

    /// <summary>Opens them.</summary>
    /// <returns>The disk that they make.</returns>
    public async ValueTask<Disk> OpenAsync(CancellationToken cancellationToken)
    {
        var disks = new List<GuestDisk?>();
        foreach (StoredBackup backup in backups)
        {
            _images.Add(await backup.OpenAloneAsync(cancellationToken).ConfigureAwait(false));
            disks.Add((await _images[^1].OpenDataAsync(cancellationToken).ConfigureAwait(false)).DiskOf(0));
        }

        return new ChainDisk([.. _images.Select(static image => image.Layers[0])], disks);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (ImageChain image in _images)
        {
            await image.DisposeAsync().ConfigureAwait(false);
        }
    }
}
