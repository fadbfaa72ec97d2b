using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// A chain of images in memory that records, in one common order, what is done to them, and lists what a crash could leave of all.
/// </summary>
internal sealed class CrashChain : IBackingResolver
{
    private readonly Lock _gate = new();
    private readonly IReadOnlyDictionary<string, byte[]> _start;
    private readonly Dictionary<string, OrderedStorage> _storages = new(StringComparer.Ordinal);
    private readonly List<(string Name, StorageOperation Operation)> _operations = [];

    /// <summary>Starts with some images.</summary>
    /// <param name="images">Their contents by the names under which they name one another.</param>
    public CrashChain(IReadOnlyDictionary<string, byte[]> images)
    {
        _start = images;
        foreach ((string name, byte[] content) in images)
        {
            _storages.Add(name, new OrderedStorage(this, name, content));
        }
    }

    public int Operations => _operations.Count;

    /// <summary>Is cancelled with an operation, which is still done; null for never.</summary>
    public CancellationTokenSource? CancelledBy { get; init; }

    /// <summary>At which operation, from 1.</summary>
    public int CancelledAt { get; init; }

    /// <summary>What is there now.</summary>
    public Dictionary<string, byte[]> Content => _storages.ToDictionary(static pair => pair.Key, static pair => pair.Value.ToArray());

    /// <summary>What is there if all is lost that was not flushed.</summary>
    public Dictionary<string, byte[]> Flushed => _storages.ToDictionary(static pair => pair.Key, static pair => pair.Value.Flushed);

    public Task<ImageChain> OpenAsync(string top, params IReadOnlyCollection<int> writable) =>
        ImageChain.OpenAsync(
            _storages[top], new ChainOpenOptions { Resolver = this, WritableLayers = writable }, TestContext.Current.CancellationToken);

    /// <summary>Opens a chain with the images open for writing that a commit writes.</summary>
    public async Task<ImageChain> OpenForCommitAsync(string active, int top, int target)
    {
        await using ImageChain look = await OpenAsync(active);
        return await OpenAsync(active, [.. await new ChainCommit(look, top, target).FindWritableLayersAsync(CancellationToken.None)]);
    }

    public Task<ImageStorage> OpenAsync(
        BackingReference reference, ImageLock imageLock, CancellationToken cancellationToken = default) =>
        Task.FromResult<ImageStorage>(_storages[reference.FileName]);

    /// <summary>
    /// Lists stops: after each operation with all before it on disk; and of what one image was not asked to flush any part, with all of
    /// the others there, or only what they flushed.
    /// </summary>
    public IEnumerable<(Dictionary<string, byte[]> Content, string Description)> Stops(ulong seed, int samples)
    {
        var flushed = new Dictionary<string, byte[]>(_start);
        var now = new Dictionary<string, byte[]>(_start);
        Dictionary<string, CrashEpoch> epochs = _start.ToDictionary(static pair => pair.Key, static pair => new CrashEpoch(pair.Value, 0));
        for (int i = 0; i < _operations.Count; i++)
        {
            (string name, StorageOperation operation) = _operations[i];
            if (operation.Kind != StorageOperationKind.Flush)
            {
                epochs[name].Add(operation);
                now[name] = epochs[name].End;
                yield return (new Dictionary<string, byte[]>(now), $"after operation {i}, {name} {operation}");
                continue;
            }

            foreach ((Dictionary<string, byte[]> Content, string Description) torn in TornStates(name, i))
            {
                yield return torn;
            }

            flushed[name] = now[name];
            epochs[name] = new CrashEpoch(now[name], i + 1);
        }

        foreach ((Dictionary<string, byte[]> Content, string Description) torn
            in epochs.Keys.SelectMany(name => TornStates(name, _operations.Count)))
        {
            yield return torn;
        }

        IEnumerable<(Dictionary<string, byte[]> Content, string Description)> TornStates(string name, int i)
        {
            foreach (CrashState state in epochs[name].States(seed + (ulong)i, 16, samples))
            {
                yield return (new Dictionary<string, byte[]>(now)
                {
                    [name] = state.Content,
                }, $"before operation {i}, {name} torn: {state}");
                if (now.Any(pair => pair.Key != name && !ReferenceEquals(pair.Value, flushed[pair.Key])))
                {
                    yield return (new Dictionary<string, byte[]>(flushed)
                    {
                        [name] = state.Content,
                    }, $"before operation {i}, others as flushed, {name} torn: {state}");
                }
            }
        }
    }

    private void Record(string name, StorageOperation operation)
    {
        lock (_gate)
        {
            _operations.Add((name, operation));
            if (_operations.Count == CancelledAt)
            {
                CancelledBy?.Cancel();
            }
        }
    }

    /// <summary>An image of the chain.</summary>
    private sealed class OrderedStorage(CrashChain chain, string name, byte[] content) : ImageStorage
    {
        private readonly MemoryStorage _inner = new(content, name);

        public byte[] Flushed { get; private set; } = content;

        public override string Name => name;

        public override long Length => _inner.Length;

        public override bool CanWrite => true;

        public byte[] ToArray() => _inner.ToArray();

        public override ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            _inner.ReadAsync(offset, buffer, cancellationToken);

        public override ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            cancellationToken.ThrowIfCancellationRequested();
            chain.Record(name, StorageOperation.Write(offset, buffer.ToArray()));
            return _inner.WriteAsync(offset, buffer, CancellationToken.None);
        }

        public override ValueTask FlushAsync(CancellationToken cancellationToken = default)
        {
            cancellationToken.ThrowIfCancellationRequested();
            chain.Record(name, StorageOperation.Flush());
            Flushed = _inner.ToArray();
            return ValueTask.CompletedTask;
        }

        public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default)
        {
            cancellationToken.ThrowIfCancellationRequested();
            chain.Record(name, StorageOperation.SetLength(length));
            return _inner.SetLengthAsync(length, CancellationToken.None);
        }

        public override ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default)
        {
            cancellationToken.ThrowIfCancellationRequested();
            chain.Record(name, StorageOperation.Discard(offset, length));
            return _inner.DiscardAsync(offset, length, CancellationToken.None);
        }

        // The chain goes on without the one that opened it.
        public override ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
