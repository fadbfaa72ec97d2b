using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>
/// Copies each unit of a job once: for the job, and for writes that are about to overwrite it. Copies of one range are serialized.
/// </summary>
internal sealed class UnitCopier
{
    private const int MinUnitBytes = 64 << 10;
    private const int MaxStepBytes = 1 << 20;
    private const long MaxZeroBytes = 1 << 30;
    private const long MaxStepGrowthBytes = 1L << 60;

    private readonly RecordingSession _session;
    private readonly BackupJobOptions _options;
    private readonly CancellationToken _stopped;
    private readonly bool _leavesZeros;
    private readonly int _unitBytes;
    private readonly ItemCopier _copier;
    private readonly RangeLock _ranges = new();
    // Protects Remaining.
    private readonly Lock _gate = new();
    private Exception? _sourceError;
    private long _copiedBytes;

    /// <summary>Copies the units of a job.</summary>
    /// <param name="session">The disk.</param>
    /// <param name="options">The options, with the target.</param>
    /// <param name="leavesZeros">Whether zeros are left out where the target itself holds zeros: of a backup that stands alone. Others may
    /// get a backing file later, which must not show.</param>
    /// <param name="stopped">Ends the copying.</param>
    public UnitCopier(RecordingSession session, BackupJobOptions options, bool leavesZeros, CancellationToken stopped)
    {
        _leavesZeros = leavesZeros && !options.Target.HoldsZeros;
        _session = session;
        _options = options;
        _stopped = stopped;
        _unitBytes = UnitBytes(session.SizeBytes, options.Target.ClusterBytes);
        // Neither the target's old content nor its backing file may show through, even if they are zeros now.
        _copier = new ItemCopier(options.Target, holdsZeros: true) { Compress = options.Compress, ZeroUnitBytes = _unitBytes };
        Remaining = new DirtyBitmap(session.SizeBytes, _unitBytes);
    }

    /// <summary>The units still to be copied, one bit each. Other classes change it only before the copying begins.</summary>
    public DirtyBitmap Remaining { get; }

    /// <summary>How many bytes the job copies; 0 if it only copies before writes.</summary>
    public long TotalBytes { get; set; }

    public long CopiedBytes => Interlocked.Read(ref _copiedBytes);

    /// <summary>The first error of reading the disk; null where there was none.</summary>
    public Exception? SourceError => _sourceError;

    private int StepBytes => Math.Max(MaxStepBytes, _unitBytes);

    /// <summary>The next part, of at most one step, that is not copied yet; null if there is none.</summary>
    public (long Start, long End)? Next(long at) => Next(at, StepBytes);

    /// <summary>
    /// Copies the parts of a range that are not copied yet, in whole units and by steps, and waits for concurrent copies of it.
    /// </summary>
    public async ValueTask CopyAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken)
    {
        long start = offsetBytes & -_unitBytes;
        long end = Math.Min(_session.SizeBytes, (offsetBytes + lengthBytes + _unitBytes - 1) & -_unitBytes);
        for (long at = start; at < end; at += StepBytes)
        {
            await CopyStepAsync(at, Math.Min(end, at + StepBytes), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Copies zeros that are known from tables alone, if there are many.</summary>
    /// <returns>The end of the zeros; the start itself if there are few.</returns>
    public async ValueTask<long> CopyZerosAsync(long start)
    {
        (long end, long thereEnd) = await FindZerosAsync(start).ConfigureAwait(false);
        if (end - start < StepBytes)
        {
            return start;
        }

        using RangeLock.Release turn = await _ranges.EnterAsync(start, end, _stopped).ConfigureAwait(false);
        if (Next(start, end - start) is not { } next || next.Start != start)
        {
            // A concurrent write has copied it.
            return start;
        }

        // Parts that are not copied cannot be overwritten before this lock is released.
        long zerosEnd = await ReadSourceAsync(_session.FindZerosEndAsync(start, next.End, _stopped)).ConfigureAwait(false);
        zerosEnd = zerosEnd == next.End ? zerosEnd : zerosEnd & -_unitBytes;
        if (zerosEnd - start < StepBytes)
        {
            return start;
        }

        long written = Math.Max(start, thereEnd & -_unitBytes);
        if (written < zerosEnd && thereEnd < zerosEnd)
        {
            await _copier.ZeroAsync(written, zerosEnd, _stopped).ConfigureAwait(false);
        }

        Note(start, zerosEnd - start);
        return zerosEnd;
    }

    /// <summary>Waits for writes that are still copying, and leaves nothing to copy for later ones.</summary>
    public async Task ForgetAsync()
    {
        await SettleAsync().ConfigureAwait(false);
        lock (_gate)
        {
            Remaining.ClearAll();
        }
    }

    /// <summary>Waits for writes that are still copying. If copying was stopped before, the remaining units are final afterwards.</summary>
    public async Task SettleAsync()
    {
        using RangeLock.Release all = await _ranges.EnterAsync(0, long.MaxValue, CancellationToken.None).ConfigureAwait(false);
    }

    /// <summary>Marks bits, or all, as not copied. The caller must have stopped the copying.</summary>
    public void TakeBack(DirtyBitmap? bits)
    {
        lock (_gate)
        {
            if (bits is null)
            {
                Remaining.SetAll();
            }
            else
            {
                Remaining.Merge(bits);
            }
        }
    }

    /// <summary>
    /// Finds up to where the disk reads as zeros for now, and up to where the target holds zeros there. Asks for more of the maps only
    /// where all was zeros so far: no part of them is asked for again and again.
    /// </summary>
    private async ValueTask<(long End, long ThereEnd)> FindZerosAsync(long start)
    {
        long size = _session.SizeBytes;
        (long end, long thereEnd) = (start, start);
        for (long step = StepBytes; end < size; step += Math.Min(step, MaxStepGrowthBytes))
        {
            bool isThere = _leavesZeros && thereEnd == end;
            // A run that needs no writes has no limit: guest writes to it only wait for tables to be read.
            long most = isThere ? size : Math.Min(size, start + MaxZeroBytes);
            if (end >= most)
            {
                break;
            }

            long limit = end + Math.Min(step, most - end);
            long zerosEnd = await ReadSourceAsync(_session.FindZerosEndAsync(end, limit, _stopped)).ConfigureAwait(false);
            thereEnd = isThere ? await FindHeldZerosEndAsync(end, zerosEnd).ConfigureAwait(false) : thereEnd;
            end = zerosEnd;
            if (end < limit)
            {
                break;
            }
        }

        return (end == size ? end : end & -_unitBytes, thereEnd);
    }

    /// <summary>Up to where the target itself reads as zeros: not what its backing file shows.</summary>
    private async ValueTask<long> FindHeldZerosEndAsync(long start, long end)
    {
        Disk target = _options.Target;
        var extents = new List<DiskExtent>();
        for (long at = start; at < end;)
        {
            extents.Clear();
            at = await target.ListCheckedAsync(at, end, extents, _stopped).ConfigureAwait(false);
            foreach (DiskExtent extent in extents)
            {
                bool isHeld = extent.Depth == 0
                    && (extent.Kind == ExtentKind.Zero || (extent.Kind == ExtentKind.Unallocated && !target.HasBacking));
                if (!isHeld)
                {
                    return extent.OffsetBytes;
                }
            }
        }

        return end;
    }

    /// <summary>Copies the units of a part that are not copied yet, and waits for concurrent copies of it.</summary>
    private async ValueTask CopyStepAsync(long start, long end, CancellationToken cancellationToken)
    {
        using RangeLock.Release turn = await _ranges.EnterAsync(start & -_unitBytes, end, cancellationToken).ConfigureAwait(false);
        MemoryOwner<byte>? buffer = null;
        try
        {
            for (long at = start; Next(at, StepBytes) is { } next && next.Start < end;)
            {
                _stopped.ThrowIfCancellationRequested();
                at = Math.Min(next.End, end);
                buffer ??= MemoryOwner<byte>.Allocate((int)(end - start));
                Memory<byte> bytes = buffer.Memory[..(int)(at - next.Start)];
                await ReadSourceAsync(_session.ReadAsync(next.Start, bytes, cancellationToken)).ConfigureAwait(false);
                await WriteAsync(next.Start, bytes, cancellationToken).ConfigureAwait(false);
                Note(next.Start, bytes.Length);
            }
        }
        finally
        {
            buffer?.Dispose();
        }
    }

    /// <summary>The target's clusters, so that it copies nothing itself; more for a disk that a bitmap of those would not cover.</summary>
    private static int UnitBytes(long diskBytes, int clusterBytes)
    {
        int unitBytes = Math.Max(MinUnitBytes, clusterBytes);
        while (diskBytes / unitBytes >= DirtyBitmap.MaxBitCount)
        {
            unitBytes *= 2;
        }

        return unitBytes;
    }

    private (long Start, long End)? Next(long at, long maxBytes)
    {
        lock (_gate)
        {
            long bit = Remaining.Find(at / _unitBytes, true);
            if (bit >= Remaining.BitCount)
            {
                return null;
            }

            long start = Remaining.StartOfBit(bit);
            long end = Math.Min(Remaining.StartOfBit(Remaining.Find(bit, false)), start + maxBytes);
            return (start, end);
        }
    }

    private void Note(long start, long length)
    {
        lock (_gate)
        {
            Remaining.Clear(start, length);
        }

        long copied = Interlocked.Add(ref _copiedBytes, length);
        _options.Progress?.Report(new OperationProgress(copied, TotalBytes));
    }

    private async ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        var writes = new List<CopyWrite>();
        _copier.Plan(offset, bytes.Span, [], writes);
        foreach (CopyWrite write in writes)
        {
            ValueTask writing = write.IsZero
                ? _copier.ZeroAsync(write.OffsetBytes, write.EndBytes, cancellationToken)
                : _copier.WriteAsync(
                    write.OffsetBytes, bytes[(int)(write.OffsetBytes - offset)..(int)(write.EndBytes - offset)], null, cancellationToken);
            await writing.ConfigureAwait(false);
        }
    }

    private async ValueTask<T> ReadSourceAsync<T>(ValueTask<T> reading)
    {
        try
        {
            return await reading.ConfigureAwait(false);
        }
        catch (IOException e)
        {
            Interlocked.CompareExchange(ref _sourceError, e, null);
            throw;
        }
    }
}
