using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Bytes in memory that record what is done to them, and list what a crash could have left at any moment.</summary>
/// <remarks>
/// What was flushed is there. Of what was done since, each sector of 512 bytes has any of the contents that it had in between, for itself,
/// and the file any of the lengths: sectors are never torn, writes always may be, and nothing comes in order.
/// </remarks>
internal sealed class CrashStorage(byte[] content, bool ignoresDiscards = false) : ImageStorage
{
    private readonly Lock _gate = new();
    private readonly byte[] _start = [.. content];
    private readonly MemoryStorage _inner = new(content, "crash");
    private readonly List<StorageOperation> _operations = [];

    /// <summary>What was done so far.</summary>
    public IReadOnlyList<StorageOperation> Operations
    {
        get
        {
            lock (_gate)
            {
                return [.. _operations];
            }
        }
    }

    public override string Name => _inner.Name;

    public override long Length => _inner.Length;

    public override bool CanWrite => true;

    /// <summary>What is there now, if nothing crashes.</summary>
    public byte[] ToArray() => _inner.ToArray();

    /// <summary>
    /// Lists what a crash could leave, each combination once: the start and the end, all combinations of
    /// sectors where they are few, else a sample.
    /// </summary>
    /// <param name="seed">Chooses the sample.</param>
    /// <param name="exhaustive">Up to how many combinations between two flushes all are listed.</param>
    /// <param name="samples">How many random combinations between two flushes are listed otherwise, beside
    /// those that are always listed.</param>
    public IEnumerable<CrashState> States(ulong seed = 1, int exhaustive = 64, int samples = 24)
    {
        var epoch = new CrashEpoch(_start, 0);
        IReadOnlyList<StorageOperation> operations = Operations;
        for (int i = 0; i <= operations.Count; i++)
        {
            if (i < operations.Count && operations[i].Kind != StorageOperationKind.Flush)
            {
                epoch.Add(operations[i]);
                continue;
            }

            foreach (CrashState state in epoch.States(seed + (ulong)i, exhaustive, samples))
            {
                yield return state;
            }

            epoch = new CrashEpoch(epoch.End, i + 1);
        }
    }

    public override ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        _inner.ReadAsync(offset, buffer, cancellationToken);

    public override ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return Record(StorageOperation.Write(offset, buffer.ToArray()), _inner.WriteAsync(offset, buffer, CancellationToken.None));
    }

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return Record(StorageOperation.Flush(), ValueTask.CompletedTask);
    }

    public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return Record(StorageOperation.SetLength(length), _inner.SetLengthAsync(length, CancellationToken.None));
    }

    public override ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return ignoresDiscards
            ? ValueTask.CompletedTask
            : Record(StorageOperation.Discard(offset, length), _inner.DiscardAsync(offset, length, CancellationToken.None));
    }

    public override ValueTask DisposeAsync() => _inner.DisposeAsync();

    private ValueTask Record(StorageOperation operation, ValueTask done)
    {
        lock (_gate)
        {
            // Memory has completed it by now, or has thrown.
            _operations.Add(operation);
        }

        return done;
    }
}
