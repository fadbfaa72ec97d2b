using Qcow2Bitmaps.Images.Snapshots;

namespace Qcow2Bitmaps;

public sealed partial class Qcow2Image
{
    /// <summary>The longest snapshot name that QEMU can find, in bytes of UTF-8.</summary>
    internal const int MaxSnapshotNameBytes = 255;

    /// <summary>Takes an internal snapshot of the disk as it is now.</summary>
    /// <remarks>
    /// An interruption at any byte leaves the old or the new image, and a check finds nothing. Needs space for a copy of the tables that
    /// refer to guest data, which is free again afterwards. Bitmaps are unchanged.
    /// </remarks>
    /// <param name="name">The name, at most 255 bytes without NUL. Names need not be unique; QEMU finds the
    /// first.</param>
    /// <param name="cancellationToken">Cancels the work while the image is unchanged; a switch that has begun is completed.</param>
    /// <returns>The snapshot.</returns>
    /// <exception cref="ArgumentException">The name is too long, or has a NUL.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image is read-only, has an external data file or the maximum number of snapshots, or
    /// its counts are too narrow to count another reference to a cluster.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt, or its reference counts are wrong.</exception>
    /// <exception cref="InvalidOperationException">A writer of guest data is open on the image.</exception>
    /// <exception cref="NoSpaceException">The storage cannot grow and has too little space.</exception>
    /// <exception cref="IOException">The storage failed; the image has its old or its new state.</exception>
    public async Task<SnapshotInfo> CreateSnapshotAsync(string name, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (ImageText.Encode(name).Length > MaxSnapshotNameBytes || name.Contains('\0', StringComparison.Ordinal))
        {
            throw new ArgumentException($"A snapshot's name has at most {MaxSnapshotNameBytes} bytes and no NUL.", nameof(name));
        }

        SnapshotInfo? created = null;
        await SnapshotChange.RunAsync(
            Handle,
            async change =>
                created = await change.CreateAsync(name, TimeProvider.System.GetUtcNow(), cancellationToken).ConfigureAwait(false),
            cancellationToken).ConfigureAwait(false);
        return created!;
    }

    /// <summary>Deletes an internal snapshot and frees the space that only it used. Bitmaps are unchanged.</summary>
    /// <remarks>An interruption at any byte leaves the old or the new image, and a check finds nothing.</remarks>
    /// <param name="name">The name; if several snapshots have it, the first one is deleted.</param>
    /// <param name="cancellationToken">Cancels the work while the image is unchanged; a switch that has begun is completed.</param>
    /// <exception cref="SnapshotStateException">There is no such snapshot.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image is open for reading only, or has an external data file.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt, the snapshot's table is not allowed, or
    /// reference counts are wrong.</exception>
    /// <exception cref="InvalidOperationException">A writer of guest data is open on the image.</exception>
    /// <exception cref="NoSpaceException">The storage cannot grow and has too little space.</exception>
    /// <exception cref="IOException">The storage failed; the image has its old or its new state.</exception>
    public Task DeleteSnapshotAsync(string name, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(name);
        return SnapshotChange.RunAsync(Handle, change => change.DeleteAsync(name, cancellationToken), cancellationToken).AsTask();
    }

    /// <summary>Makes an internal snapshot's state the active one; the active state is lost. The disk gets the snapshot's size.</summary>
    /// <remarks>An interruption at any byte leaves the old or the new image, and a check finds nothing.</remarks>
    /// <param name="idOrName">The snapshot's id; if there is no such id, its name.</param>
    /// <param name="cancellationToken">Cancels the work while the image is unchanged; a switch that has begun is completed.</param>
    /// <exception cref="SnapshotStateException">There is no such snapshot.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image has a bitmap (bitmaps do not record what differs from the snapshot), is
    /// read-only, or has an external data file; its counts are too narrow; or it is of version 2 and the snapshot has another
    /// size.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt, the snapshot's table is not allowed, or
    /// reference counts are wrong.</exception>
    /// <exception cref="InvalidOperationException">A writer of guest data is open on the image.</exception>
    /// <exception cref="NoSpaceException">The storage cannot grow and has too little space.</exception>
    /// <exception cref="IOException">The storage failed; the image has its old or its new state.</exception>
    public Task ApplySnapshotAsync(string idOrName, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(idOrName);
        return SnapshotChange.RunAsync(Handle, change => change.ApplyAsync(idOrName, cancellationToken), cancellationToken).AsTask();
    }
}
