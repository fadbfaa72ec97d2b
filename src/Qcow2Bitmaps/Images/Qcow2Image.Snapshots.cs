using Qcow2Bitmaps.Images.Snapshots;

namespace Qcow2Bitmaps;

public sealed partial class Qcow2Image
{
    /// <summary>The longest name of a snapshot that QEMU can find, in bytes of UTF-8.</summary>
    public const int MaxSnapshotNameBytes = 255;

    /// <summary>Takes an internal snapshot of the disk as it is now.</summary>
    /// <remarks>
    /// A stop at any byte leaves the image as before or as after, and a check finds nothing. It needs space for a copy of the tables that
    /// name guest data, which is free again afterwards. Bitmaps stay as they are.
    /// </remarks>
    /// <param name="name">The name, at most <see cref="MaxSnapshotNameBytes"/> bytes without NUL. Others may
    /// have it too; QEMU finds the first.</param>
    /// <param name="cancellationToken">Ends the work while the image is as before; once the switch has begun it is carried through.</param>
    /// <returns>The snapshot.</returns>
    /// <exception cref="ArgumentException">The name is too long, or has a NUL.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image is open for reading only, has an external data file or as many snapshots as it
    /// may have, or its counts are too narrow to count a cluster once more.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt, or its reference counts are wrong.</exception>
    /// <exception cref="InvalidOperationException">A writer of guest data is open on the image.</exception>
    /// <exception cref="NoSpaceException">There is no room, on a storage that cannot grow.</exception>
    /// <exception cref="IOException">The storage failed; the image is as before or as after.</exception>
    public async ValueTask<SnapshotInfo> CreateSnapshotAsync(string name, CancellationToken cancellationToken = default)
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

    /// <summary>Removes an internal snapshot, and gives back the space that only it has used. Bitmaps stay as they are.</summary>
    /// <remarks>A stop at any byte leaves the image as before or as after, and a check finds nothing.</remarks>
    /// <param name="name">The name; of several that have it the first one is meant.</param>
    /// <param name="cancellationToken">Ends the work while the image is as before; once the switch has begun it is carried through.</param>
    /// <exception cref="SnapshotStateException">There is no such snapshot.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image is open for reading only, or has an external data file.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt, the snapshot's table is not allowed, or
    /// reference counts are wrong.</exception>
    /// <exception cref="InvalidOperationException">A writer of guest data is open on the image.</exception>
    /// <exception cref="NoSpaceException">There is no room, on a storage that cannot grow.</exception>
    /// <exception cref="IOException">The storage failed; the image is as before or as after.</exception>
    public ValueTask DeleteSnapshotAsync(string name, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(name);
        return SnapshotChange.RunAsync(Handle, change => change.DeleteAsync(name, cancellationToken), cancellationToken);
    }

    /// <summary>Makes an internal snapshot's state the active one; what was active is lost. The disk gets the size it had.</summary>
    /// <remarks>A stop at any byte leaves the image as before or as after, and a check finds nothing.</remarks>
    /// <param name="idOrName">The snapshot's id, else its name.</param>
    /// <param name="cancellationToken">Ends the work while the image is as before; once the switch has begun it is carried through.</param>
    /// <exception cref="SnapshotStateException">There is no such snapshot.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image has any bitmap, as bitmaps do not say what differs from the snapshot; is open
    /// for reading only; has an external data file; its counts are too narrow; or it is of version 2 and had another size.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt, the snapshot's table is not allowed, or
    /// reference counts are wrong.</exception>
    /// <exception cref="InvalidOperationException">A writer of guest data is open on the image.</exception>
    /// <exception cref="NoSpaceException">There is no room, on a storage that cannot grow.</exception>
    /// <exception cref="IOException">The storage failed; the image is as before or as after.</exception>
    public ValueTask ApplySnapshotAsync(string idOrName, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(idOrName);
        return SnapshotChange.RunAsync(Handle, change => change.ApplyAsync(idOrName, cancellationToken), cancellationToken);
    }
}
