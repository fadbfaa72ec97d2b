using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images.Creation;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Copying;

/// <summary>Copies disks to a target: several workers read, unpack and write side by side.</summary>
/// <remarks>
/// <para>Parts are given out in order and written as they come: waiting for a turn would cost a switch of threads for each part, which takes longer than writing it.</para>
/// <para>Memory: a buffer for each worker, and a second one where the target's content is looked at. Nothing of it depends on the disk's size.</para>
/// </remarks>
internal sealed class CopyEngine(ICopyTarget target, ConversionOptions options, IProgress<long>? progress)
{
    // Small enough to stay in a core's cache between reading and writing.
    private const int ItemBytes = 1 << 20;

    private readonly bool _usesReflinks = options is { UsesReflinks: true, TargetExists: false } && !options.RawPreallocation.TakesSpace() && options.Create?.Preallocation.TakesSpace() != true;
    // What is only rehearsed takes no time.
    private readonly CopyRate? _rate = options is { BytesPerSecond: > 0, Rehearses: null } ? new CopyRate(options.BytesPerSecond, TimeProvider.System) : null;
    private readonly Lock _gate = new();
    private long _doneBytes;
    private long _writtenBytes;

    /// <summary>How many bytes of the disk were written or made zeros.</summary>
    public long WrittenBytes => _writtenBytes;

    // Zeros are looked for where a whole unit can be left out, and units lie within items.
    private bool FindsZeros => options.SparseBytes > 0 && UnitBytes <= ItemBytesOf(target);

    private int UnitBytes => Math.Max(options.SparseBytes, target.UnitBytes);

    /// <summary>Copies all.</summary>
    /// <param name="sources">The sources, one behind the other.</param>
    /// <param name="skipFromDepth">From which image of the source on down the target reads the same.</param>
    /// <param name="compareFromDepth">From which one on down it may.</param>
    /// <param name="cancellationToken">Ends the copying.</param>
    /// <param name="copyFromDepth">Down to which image of the source, without it, the target has all that those images have.</param>
    /// <param name="ranges">The parts of the disk that are copied, nothing else; all of it when null. They start and end at the target's clusters, or at the disk's end.</param>
    /// <param name="observer">Is shown all that is written.</param>
    public async Task RunAsync(
        IReadOnlyList<ChainMap> sources, int skipFromDepth, int compareFromDepth, CancellationToken cancellationToken, int copyFromDepth = 0, CopyRanges? ranges = null, ICopyObserver? observer = null)
    {
        if (options.Rehearses == MeasureDepth.Bitmaps)
        {
            return;
        }

        CopyComparison? comparison = compareFromDepth < int.MaxValue ? new CopyComparison(target) : null;
        using var planner = new CopyPlanner(sources, ItemBytesOf(target), writesZeros: options.SparseBytes == 0, skipFromDepth, compareFromDepth, copyFromDepth, comparison, ranges, observer);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task[] workers = [.. Enumerable.Range(0, options.Workers).Select(_ => Task.Run(() => WorkAsync(planner, observer, stop), CancellationToken.None))];
        // Where one fails, the others are stopped; of all that ends them, errors come before that.
        await Task.WhenAll(workers).ConfigureAwait(false);
    }

    private static int ItemBytesOf(ICopyTarget target) => Math.Max(ItemBytes, target.ClusterBytes);

    private async Task WorkAsync(CopyPlanner planner, ICopyObserver? observer, CancellationTokenSource stop)
    {
        CancellationToken cancellationToken = stop.Token;
        try
        {
            byte[] buffer = GC.AllocateUninitializedArray<byte>(ItemBytesOf(target));
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
                else if (options.Rehearses == MeasureDepth.Tables)
                {
                    PlanUnread(item, writes);
                }
                else
                {
                    await ReadAsync(item, buffer, cancellationToken).ConfigureAwait(false);
                    if (item.Pieces.Exists(static piece => piece.Kind == CopyPieceKind.Compare))
                    {
                        there = there.Length > 0 ? there : GC.AllocateUninitializedArray<byte>(buffer.Length);
                        await target.ReadAsync(item.OffsetBytes, there.AsMemory(0, (int)(item.EndBytes - item.OffsetBytes)), cancellationToken).ConfigureAwait(false);
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
            // A cluster is compressed as a whole, with what the target would read there anyway.
            if (piece.Kind != CopyPieceKind.Skip || options.Compress)
            {
                await piece.Source.ReadAsync(piece.Extent, bytes, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Decides what is written of an item: neighbours of one kind together.</summary>
    private void Plan(CopyItem item, ReadOnlySpan<byte> buffer, ReadOnlySpan<byte> there, List<CopyWrite> writes)
    {
        if (options.Compress)
        {
            PlanClusters(item, buffer, there, writes);
            return;
        }

        for (int i = 0; i < item.Pieces.Count;)
        {
            CopyPiece first = item.Pieces[i];
            int end = i + 1;
            // Data and zeros beside one another are one: zeros that are too few to be left out are written with the data.
            while (end < item.Pieces.Count && IsLike(first.Kind, item.Pieces[end].Kind))
            {
                end++;
            }

            PlanSpan(item, first.OffsetBytes, item.Pieces[end - 1].EndBytes, first.Kind, buffer, there, writes);
            i = end;
        }
    }

    private static bool IsLike(CopyPieceKind one, CopyPieceKind other) =>
        one == other || (one is CopyPieceKind.Copy or CopyPieceKind.Zero && other is CopyPieceKind.Copy or CopyPieceKind.Zero);

    private void PlanSpan(CopyItem item, long start, long end, CopyPieceKind kind, ReadOnlySpan<byte> buffer, ReadOnlySpan<byte> there, List<CopyWrite> writes)
    {
        if (kind == CopyPieceKind.Skip)
        {
            return;
        }

        if (!FindsZeros && kind == CopyPieceKind.Copy)
        {
            Add(writes, start, end, isZero: false);
            return;
        }

        int unit = FindsZeros ? UnitBytes : ItemBytesOf(target);
        for (long at = start; at < end;)
        {
            long unitEnd = Math.Min(end, (at / unit + 1) * unit);
            var range = new Range((int)(at - item.OffsetBytes), (int)(unitEnd - item.OffsetBytes));
            if (kind != CopyPieceKind.Compare || !buffer[range].SequenceEqual(there[range]))
            {
                Add(writes, at, unitEnd, FindsZeros && !buffer[range].ContainsAnyExcept((byte)0));
            }

            at = unitEnd;
        }
    }

    private void PlanClusters(CopyItem item, ReadOnlySpan<byte> buffer, ReadOnlySpan<byte> there, List<CopyWrite> writes)
    {
        for (long at = item.OffsetBytes; at < item.EndBytes; at += target.ClusterBytes)
        {
            long end = Math.Min(item.EndBytes, at + target.ClusterBytes);
            var range = new Range((int)(at - item.OffsetBytes), (int)(end - item.OffsetBytes));
            bool isThere = true;
            foreach (CopyPiece piece in item.Pieces)
            {
                if (piece.OffsetBytes < end && at < piece.EndBytes)
                {
                    isThere &= piece.Kind == CopyPieceKind.Skip || (piece.Kind == CopyPieceKind.Compare && buffer[range].SequenceEqual(there[range]));
                }
            }

            if (!isThere)
            {
                writes.Add(new CopyWrite(at, end, options.SparseBytes > 0 && !buffer[range].ContainsAnyExcept((byte)0)));
            }
        }
    }

    /// <summary>Decides without the bytes: what is not surely zeros counts as data, and what is compared as different.</summary>
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
                    Add(writes, piece.OffsetBytes, piece.EndBytes, isZero: false);
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
            long zeroStart = isBesideData ? Math.Min(end, (piece.OffsetBytes + UnitBytes - 1) / UnitBytes * UnitBytes) : piece.OffsetBytes;
            long zeroEnd = i + 1 < pieces.Count && pieces[i + 1].Kind != CopyPieceKind.Skip ? Math.Max(zeroStart, end / UnitBytes * UnitBytes) : end;
            foreach ((long from, long to, bool isZero) in (ReadOnlySpan<(long, long, bool)>)[(piece.OffsetBytes, zeroStart, false), (zeroStart, zeroEnd, FindsZeros), (zeroEnd, end, false)])
            {
                if (from < to)
                {
                    Add(writes, from, to, isZero);
                }
            }
        }
    }

    private static void Add(List<CopyWrite> writes, long start, long end, bool isZero)
    {
        if (writes.Count > 0 && writes[^1] is { } last && last.EndBytes == start && last.IsZero == isZero)
        {
            writes[^1] = last with { EndBytes = end };
        }
        else
        {
            writes.Add(new CopyWrite(start, end, isZero));
        }
    }

    /// <summary>Drops zeros where the target reads zeros already.</summary>
    private void LeaveOutZeros(List<CopyWrite> writes)
    {
        for (int i = writes.Count - 1; i >= 0; i--)
        {
            CopyWrite write = writes[i];
            if (write.IsZero && write.OffsetBytes >= target.ZeroFromBytes)
            {
                writes.RemoveAt(i);
            }
            else if (write.IsZero && write.EndBytes > target.ZeroFromBytes)
            {
                writes[i] = write with { EndBytes = target.ZeroFromBytes };
            }
        }
    }

    private async ValueTask WriteAsync(CopyItem item, byte[] buffer, List<CopyWrite> writes, CancellationToken cancellationToken)
    {
        foreach (CopyWrite write in writes)
        {
            Interlocked.Add(ref _writtenBytes, write.EndBytes - write.OffsetBytes);
            if (write.IsZero)
            {
                await target.ZeroAsync(write.OffsetBytes, write.EndBytes, cancellationToken).ConfigureAwait(false);
                continue;
            }

            if (_rate is not null)
            {
                await _rate.WaitAsync(write.EndBytes - write.OffsetBytes, cancellationToken).ConfigureAwait(false);
            }

            ReadOnlyMemory<byte> bytes = buffer.AsMemory((int)(write.OffsetBytes - item.OffsetBytes), (int)(write.EndBytes - write.OffsetBytes));
            if (options.Compress)
            {
                await target.WriteCompressedAsync(write.OffsetBytes, bytes, cancellationToken).ConfigureAwait(false);
            }
            else
            {
                await target.WriteAsync(write.OffsetBytes, bytes, _usesReflinks ? OriginOf(item, write) : null, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Where a source has all bytes of a write in a row.</summary>
    private static BytesOrigin? OriginOf(CopyItem item, CopyWrite write)
    {
        CopyPiece piece = item.Pieces.FindLast(piece => piece.OffsetBytes <= write.OffsetBytes);
        return write.EndBytes <= piece.EndBytes ? piece.Source.OriginOf(piece.Extent)?.From(write.OffsetBytes - piece.OffsetBytes) : null;
    }

    private void Report(long bytes)
    {
        if (progress is not null)
        {
            lock (_gate)
            {
                _doneBytes += bytes;
                progress.Report(_doneBytes);
            }
        }
    }
}
