using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Copying;

/// <summary>Copies disks to another one: several workers concurrently read, decompress and write.</summary>
/// <remarks>
/// <para>Parts are handed out in order and written as soon as they are ready: waiting to write in order would cost a thread switch per
/// part, which takes longer than the write.</para>
/// <para>Memory: one buffer per worker, and a second one if the target's content is compared. Nothing depends on the disk's size.</para>
/// </remarks>
internal sealed class CopyEngine
{
    // Small enough to stay in a core's cache between reading and writing.
    private const int LeastItemBytes = 1 << 20;

    private readonly Disk _target;
    private readonly ConversionOptions _options;
    private readonly IProgress<OperationProgress>? _progress;
    private readonly long _zeroFromBytes;
    private readonly ItemCopier _copier;
    private readonly int _itemBytes;
    private readonly int _unitBytes;
    private readonly bool _usesReflinks;
    private readonly CopyRate? _rate;
    private readonly Lock _gate = new();
    private long _doneBytes;
    private long _totalBytes;

    /// <summary>Creates an engine for a target.</summary>
    /// <param name="target">The disk to write.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Receives the number of bytes of the disk that are done.</param>
    /// <param name="zeroFromBytes">The offset, in bytes, from which the target reads as zeros until it is written;
    /// <see cref="long.MaxValue"/> if unknown.</param>
    /// <param name="there">What the target will read where nothing is copied, if that differs from what it reads now.</param>
    public CopyEngine(
        Disk target, ConversionOptions options, IProgress<OperationProgress>? progress, long zeroFromBytes = long.MaxValue,
        Disk? there = null)
    {
        _target = target;
        _options = options;
        _progress = progress;
        _zeroFromBytes = zeroFromBytes;
        _itemBytes = Math.Max(LeastItemBytes, target.ClusterBytes);
        _unitBytes = Math.Max(options.SparseBytes, target.SubclusterBytes);
        _usesReflinks = options is { UsesReflinks: true, TargetExists: false }
            && !options.RawPreallocation.TakesSpace()
            && options.Create?.Preallocation.TakesSpace() != true;
        // A rehearsal is not throttled.
        _rate = options is { BytesPerSecond: > 0, Rehearses: null } ? new CopyRate(options.BytesPerSecond, TimeProvider.System) : null;
        _copier = new ItemCopier(target, options.HoldsZeros, there)
        {
            Compress = options.Compress,
            // Zeros are detected only if whole units of them may be skipped, and a unit fits into an item.
            ZeroUnitBytes = options.SparseBytes > 0 && _unitBytes <= _itemBytes ? _unitBytes : 0,
        };
    }

    /// <summary>How many bytes of the disk were written or made zeros.</summary>
    public long WrittenBytes => _copier.WrittenBytes;

    /// <summary>Copies everything in a scope.</summary>
    /// <param name="scope">The sources, and which parts of them are copied.</param>
    /// <param name="cancellationToken">Ends the copying.</param>
    public async Task RunAsync(CopyScope scope, CancellationToken cancellationToken)
    {
        if (_options.Rehearses == MeasureDepth.Bitmaps)
        {
            return;
        }

        _totalBytes = scope.Sources.Sum(static source => source.SizeBytes);
        CopyComparison? comparison = scope.CompareFromDepth < int.MaxValue
            ? new CopyComparison(_copier.There, !_copier.HoldsZeros, _target.SubclusterBytes, _zeroFromBytes)
            : null;
        using var planner = new CopyPlanner(scope, _itemBytes, writesZeros: _options.SparseBytes == 0, comparison);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task[] workers = [.. Enumerable.Range(0, _options.Workers)
            .Select(_ => Task.Run(() => WorkAsync(planner, scope.Observer, stop), CancellationToken.None))];
        // If one worker fails, the others are cancelled. Task.WhenAll reports errors rather than cancellations.
        await Task.WhenAll(workers).ConfigureAwait(false);
    }

    /// <summary>Makes a part of the target read as zeros.</summary>
    /// <inheritdoc cref="ItemCopier.ZeroAsync"/>
    public ValueTask ZeroAsync(long start, long end, CancellationToken cancellationToken) =>
        _copier.ZeroAsync(start, end, cancellationToken);

    private async Task WorkAsync(CopyPlanner planner, ICopyObserver? observer, CancellationTokenSource stop)
    {
        CancellationToken cancellationToken = stop.Token;
        try
        {
            byte[] buffer = GC.AllocateUninitializedArray<byte>(_itemBytes);
            byte[] there = [];
            var item = new CopyItem();
            var writes = new List<CopyWrite>();
            while (await planner.NextAsync(item, cancellationToken).ConfigureAwait(false))
            {
                writes.Clear();
                if (item.IsRun)
                {
                    if (item.Pieces[0].Kind == CopyPieceKind.Zero)
                    {
                        writes.Add(new CopyWrite(item.OffsetBytes, item.EndBytes, IsZero: true));
                    }
                }
                else if (_options.Rehearses == MeasureDepth.Tables)
                {
                    PlanUnread(item, writes);
                }
                else
                {
                    await ReadAsync(item, buffer, cancellationToken).ConfigureAwait(false);
                    if (item.Pieces.Exists(static piece => piece.Kind == CopyPieceKind.Compare))
                    {
                        there = there.Length > 0 ? there : GC.AllocateUninitializedArray<byte>(buffer.Length);
                        await _copier.There.ReadFilledAsync(
                            item.OffsetBytes, there.AsMemory(0, (int)(item.EndBytes - item.OffsetBytes)),
                            cancellationToken).ConfigureAwait(false);
                    }

                    Plan(item, buffer, there, writes);
                }

                LeaveOutZeros(writes);
                await WriteAsync(item, buffer, writes, cancellationToken).ConfigureAwait(false);
                observer?.End(item, buffer, writes);
                Report(item.EndBytes - item.OffsetBytes);
            }
        }
        catch
        {
            await stop.CancelAsync().ConfigureAwait(false);
            throw;
        }
    }

    private async ValueTask ReadAsync(CopyItem item, byte[] buffer, CancellationToken cancellationToken)
    {
        foreach (CopyPiece piece in item.Pieces)
        {
            Memory<byte> bytes = buffer.AsMemory((int)(piece.OffsetBytes - item.OffsetBytes), (int)piece.LengthBytes);
            // A cluster is compressed as a whole, including the parts that the target would already read.
            if (piece.Kind != CopyPieceKind.Skip || _options.Compress)
            {
                await piece.Source.ReadAsync(piece.Extent, bytes, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Decides what is written of an item, and merges adjacent pieces of one kind.</summary>
    private void Plan(CopyItem item, ReadOnlySpan<byte> buffer, ReadOnlySpan<byte> there, List<CopyWrite> writes)
    {
        if (_options.Compress)
        {
            PlanClusters(item, buffer, there, writes);
            return;
        }

        for (int i = 0; i < item.Pieces.Count;)
        {
            CopyPiece first = item.Pieces[i];
            int end = i + 1;
            // Adjacent data and zeros are merged: runs of zeros too short to skip are written with the data.
            while (end < item.Pieces.Count && IsLike(first.Kind, item.Pieces[end].Kind))
            {
                end++;
            }

            var range = new Range((int)(first.OffsetBytes - item.OffsetBytes), (int)(item.Pieces[end - 1].EndBytes - item.OffsetBytes));
            if (first.Kind != CopyPieceKind.Skip)
            {
                _copier.Plan(first.OffsetBytes, buffer[range], first.Kind == CopyPieceKind.Compare ? there[range] : [], writes);
            }

            i = end;
        }
    }

    private static bool IsLike(CopyPieceKind one, CopyPieceKind other) =>
        one == other || (one is CopyPieceKind.Copy or CopyPieceKind.Zero && other is CopyPieceKind.Copy or CopyPieceKind.Zero);

    private void PlanClusters(CopyItem item, ReadOnlySpan<byte> buffer, ReadOnlySpan<byte> there, List<CopyWrite> writes)
    {
        for (long at = item.OffsetBytes; at < item.EndBytes; at += _target.ClusterBytes)
        {
            long end = Math.Min(item.EndBytes, at + _target.ClusterBytes);
            var range = new Range((int)(at - item.OffsetBytes), (int)(end - item.OffsetBytes));
            bool isThere = true;
            foreach (CopyPiece piece in item.Pieces)
            {
                if (piece.OffsetBytes < end && at < piece.EndBytes)
                {
                    isThere &= piece.Kind == CopyPieceKind.Skip
                        || (piece.Kind == CopyPieceKind.Compare && buffer[range].SequenceEqual(there[range]));
                }
            }

            if (!isThere)
            {
                writes.Add(new CopyWrite(at, end, _options.SparseBytes > 0 && !buffer[range].ContainsAnyExcept((byte)0)));
            }
        }
    }

    /// <summary>
    /// Decides without reading: whatever is not known to be zeros counts as data, and whatever would be compared counts as different.
    /// </summary>
    private void PlanUnread(CopyItem item, List<CopyWrite> writes)
    {
        List<CopyPiece> pieces = item.Pieces;
        for (int i = 0; i < pieces.Count; i++)
        {
            CopyPiece piece = pieces[i];
            if (piece.Kind != CopyPieceKind.Zero)
            {
                if (piece.Kind != CopyPieceKind.Skip)
                {
                    CopyWrite.Add(writes, piece.OffsetBytes, piece.EndBytes, isZero: false);
                }

                continue;
            }

            bool isBesideData = i > 0 && pieces[i - 1].Kind != CopyPieceKind.Skip;
            while (i + 1 < pieces.Count && pieces[i + 1].Kind == CopyPieceKind.Zero)
            {
                i++;
            }

            // Zeros that share a unit with data are written with them.
            long end = pieces[i].EndBytes;
            long zeroStart = isBesideData
                ? Math.Min(end, (piece.OffsetBytes + _unitBytes - 1) / _unitBytes * _unitBytes)
                : piece.OffsetBytes;
            long zeroEnd = i + 1 < pieces.Count && pieces[i + 1].Kind != CopyPieceKind.Skip
                ? Math.Max(zeroStart, end / _unitBytes * _unitBytes)
                : end;
            ReadOnlySpan<(long, long, bool)> parts =
                [(piece.OffsetBytes, zeroStart, false), (zeroStart, zeroEnd, _copier.ZeroUnitBytes > 0), (zeroEnd, end, false)];
            foreach ((long from, long to, bool isZero) in parts)
            {
                if (from < to)
                {
                    CopyWrite.Add(writes, from, to, isZero);
                }
            }
        }
    }

    /// <summary>Drops zeros where the target already reads as zeros.</summary>
    private void LeaveOutZeros(List<CopyWrite> writes)
    {
        for (int i = writes.Count - 1; i >= 0; i--)
        {
            CopyWrite write = writes[i];
            if (write.IsZero && write.OffsetBytes >= _zeroFromBytes)
            {
                writes.RemoveAt(i);
            }
            else if (write.IsZero && write.EndBytes > _zeroFromBytes)
            {
                writes[i] = write with { EndBytes = _zeroFromBytes };
            }
        }
    }

    private async ValueTask WriteAsync(CopyItem item, byte[] buffer, List<CopyWrite> writes, CancellationToken cancellationToken)
    {
        foreach (CopyWrite write in writes)
        {
            if (write.IsZero)
            {
                await _copier.ZeroAsync(write.OffsetBytes, write.EndBytes, cancellationToken).ConfigureAwait(false);
                continue;
            }

            if (_rate is not null)
            {
                await _rate.WaitAsync(write.EndBytes - write.OffsetBytes, cancellationToken).ConfigureAwait(false);
            }

            ReadOnlyMemory<byte> bytes = buffer.AsMemory(
                (int)(write.OffsetBytes - item.OffsetBytes), (int)(write.EndBytes - write.OffsetBytes));
            await _copier.WriteAsync(
                write.OffsetBytes, bytes, _usesReflinks ? OriginOf(item, write) : null, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>The place where a source stores all bytes of a write contiguously; null if there is none.</summary>
    private static BytesOrigin? OriginOf(CopyItem item, CopyWrite write)
    {
        CopyPiece piece = item.Pieces.FindLast(piece => piece.OffsetBytes <= write.OffsetBytes);
        return write.EndBytes <= piece.EndBytes ? piece.Source.OriginOf(piece.Extent)?.From(write.OffsetBytes - piece.OffsetBytes) : null;
    }

    private void Report(long bytes)
    {
        if (_progress is not null)
        {
            lock (_gate)
            {
                _doneBytes += bytes;
                _progress.Report(new OperationProgress(_doneBytes, _totalBytes));
            }
        }
    }
}
