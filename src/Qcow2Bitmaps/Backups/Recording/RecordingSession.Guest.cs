using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>What the guest reads and writes.</summary>
public sealed partial class RecordingSession
{
    private Disk Shown => (Disk?)_writer ?? _chain;

    /// <inheritdoc/>
    public override ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        Shown.ReadAsync(offsetBytes, buffer, cancellationToken);

    /// <inheritdoc/>
    public override ValueTask<long> ListAsync(
        long offsetBytes, long endBytes, List<DiskExtent> extents, CancellationToken cancellationToken = default) =>
        Shown.ListAsync(offsetBytes, endBytes, extents, cancellationToken);

    /// <summary>Writes bytes, and records them.</summary>
    /// <inheritdoc/>
    public override async ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default)
    {
        using Turn turn = await BeginAsync(offsetBytes, bytes.Length, cancellationToken).ConfigureAwait(false);
        await turn.Writer.WriteAsync(offsetBytes, bytes, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Writes a whole cluster compressed, or uncompressed if compression does not shrink it, and records it.</summary>
    /// <inheritdoc/>
    public override async ValueTask WriteCompressedAsync(
        long offsetBytes, ReadOnlyMemory<byte> cluster, CancellationToken cancellationToken = default)
    {
        using Turn turn = await BeginAsync(offsetBytes, cluster.Length, cancellationToken).ConfigureAwait(false);
        await turn.Writer.WriteCompressedAsync(offsetBytes, cluster, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Makes a range read as zeros, and records it.</summary>
    /// <inheritdoc/>
    public override async ValueTask WriteZerosAsync(
        long offsetBytes, long lengthBytes, bool mayUnmap = false, CancellationToken cancellationToken = default)
    {
        using Turn turn = await BeginAsync(offsetBytes, lengthBytes, cancellationToken).ConfigureAwait(false);
        await turn.Writer.WriteZerosAsync(offsetBytes, lengthBytes, mayUnmap, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Discards a range, and records all of it, even parts that are kept.</summary>
    /// <inheritdoc/>
    public override async ValueTask DiscardAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken = default)
    {
        using Turn turn = await BeginAsync(offsetBytes, lengthBytes, cancellationToken).ConfigureAwait(false);
        await turn.Writer.DiscardAsync(offsetBytes, lengthBytes, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Makes durable what was written by calls that have returned. Bitmaps are not stored.</summary>
    /// <inheritdoc/>
    public override ValueTask FlushAsync(CancellationToken cancellationToken = default) =>
        _writer?.FlushAsync(cancellationToken) ?? ValueTask.CompletedTask;

    /// <summary>Begins a write: has the jobs copy the old data first, and records it.</summary>
    private async ValueTask<Turn> BeginAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken)
    {
        RequireRange(offsetBytes, lengthBytes);
        GuestWriter writer = _writer
            ?? throw new Qcow2UnsupportedException(UnsupportedReason.ReadOnly, $"'{Name}' is open for reading only");
        while (true)
        {
            // Without holding any lock: a job's target may be another session, whose lock may be held by something that waits for this one.
            BackupJob[] jobs = _jobs;
            foreach (BackupJob job in jobs)
            {
                await job.CopyBeforeWriteAsync(offsetBytes, lengthBytes, cancellationToken).ConfigureAwait(false);
            }

            SharedLock.Release together = await _access.EnterAsync(cancellationToken).ConfigureAwait(false);
            if (!_isClosed && !_isStored && ReferenceEquals(jobs, _jobs))
            {
                Record(offsetBytes, lengthBytes);
                return new Turn(writer, together);
            }

            together.Dispose();
            ObjectDisposedException.ThrowIf(_isClosed, this);
            if (_isStored)
            {
                await MarkInUseAsync(cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Records a write before its data: a concurrent reader of both must not find an unrecorded write.</summary>
    private void Record(long offsetBytes, long lengthBytes)
    {
        lock (_bits)
        {
            foreach (LiveBitmap bitmap in _bitmaps)
            {
                bitmap.Record(offsetBytes, lengthBytes);
            }
        }
    }

    private readonly record struct Turn(GuestWriter Writer, SharedLock.Release Together) : IDisposable
    {
        public void Dispose() => Together.Dispose();
    }
}
