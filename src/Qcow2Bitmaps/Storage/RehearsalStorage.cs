
namespace Qcow2Bitmaps.Storage;

/// <summary>Keeps writes in memory over a read-only storage, to rehearse an operation. Contents of guest data are not kept.</summary>
/// <remarks>
/// Thread-safe. Memory: 512 bytes for each 512-byte block that gets anything but zeros. Such blocks are tables, counts and bitmap data;
/// sparse bitmaps, which are common, need little. An image with 64 KiB clusters needs about one byte per 8192 bytes of guest data. The
/// storage below stays open when this one is disposed.
/// </remarks>
internal sealed class RehearsalStorage : ImageStorage
{
    private const int PageBytes = 512;

    private readonly ImageStorage _below;
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly Lock _gate = new();
    private readonly Dictionary<long, byte[]?> _pages = [];
    private long _belowEnd;
    private long _length;
    private long _writtenEnd;

    /// <summary>Starts with the content of a storage.</summary>
    /// <param name="below">The storage.</param>
    /// <param name="isBounded">Whether this storage has the fixed size, if any, of the storage below.</param>
    public RehearsalStorage(ImageStorage below, bool isBounded)
    {
        _below = below;
        _length = _belowEnd = below.Length;
        CapacityBytes = isBounded ? below.CapacityBytes : null;
        GuestData = new Places(this);
    }

    public override string Name => _below.Name;

    public override object? Identity => _below.Identity;

    public override long? AllocatedBytes => _below.AllocatedBytes;

    public override long? CapacityBytes { get; }

    /// <summary>Whether the storage below cannot grow.</summary>
    public bool IsOverDevice => _below.CapacityBytes is not null;

    /// <summary>The end of the last write; 0 without writes.</summary>
    public long WrittenEnd
    {
        get
        {
            lock (_gate)
            {
                return _writtenEnd;
            }
        }
    }

    public override bool CanWrite => true;

    public override long Length
    {
        get
        {
            lock (_gate)
            {
                return _length;
            }
        }
    }

    internal override Int128? LastWrite => _below.LastWrite;

    internal override ImageStorage GuestData { get; }

    public override bool IsOpenForWritingElsewhere() => _below.IsOpenForWritingElsewhere();

    public override async ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        int count = (int)Math.Clamp(Length - offset, 0, buffer.Length);
        int fromBelow = (int)Math.Clamp(Volatile.Read(ref _belowEnd) - offset, 0, count);
        if (fromBelow > 0)
        {
            await _below.ReadZeroFilledAsync(offset, buffer[..fromBelow], cancellationToken).ConfigureAwait(false);
        }

        buffer.Span[fromBelow..count].Clear();
        lock (_gate)
        {
            for (long page = offset / PageBytes; _pages.Count > 0 && page * PageBytes < offset + count; page++)
            {
                if (_pages.TryGetValue(page, out byte[]? bytes))
                {
                    long from = Math.Max(offset, page * PageBytes);
                    long to = Math.Min(offset + count, (page + 1) * PageBytes);
                    Span<byte> part = buffer.Span[(int)(from - offset)..(int)(to - offset)];
                    if (bytes is null)
                    {
                        part.Clear();
                    }
                    else
                    {
                        bytes.AsSpan((int)(from % PageBytes), part.Length).CopyTo(part);
                    }
                }
            }
        }

        return count;
    }

    public override async ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        if (buffer.IsEmpty)
        {
            return;
        }

        RequireFits(offset + buffer.Length);
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            for (int done = 0; done < buffer.Length;)
            {
                long at = offset + done;
                int within = (int)(at % PageBytes);
                int length = Math.Min(buffer.Length - done, PageBytes - within);
                await WritePageAsync(at / PageBytes, within, buffer.Slice(done, length), cancellationToken).ConfigureAwait(false);
                done += length;
            }
        }
        finally
        {
            _turn.Release();
        }
    }

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default) => ValueTask.CompletedTask;

    public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        RequireFits(length);
        lock (_gate)
        {
            // Truncated bytes must not reappear.
            _belowEnd = Math.Min(_belowEnd, length);
            foreach (long page in _pages.Keys.Where(page => page * PageBytes >= length).ToList())
            {
                _pages.Remove(page);
            }

            if (_pages.TryGetValue(length / PageBytes, out byte[]? bytes) && bytes is not null)
            {
                bytes.AsSpan((int)(length % PageBytes)).Clear();
            }

            _length = length;
            _writtenEnd = Math.Max(_writtenEnd, length);
        }

        return ValueTask.CompletedTask;
    }

    public override ValueTask<StorageRange?> FindDataAsync(long offset, CancellationToken cancellationToken = default)
    {
        bool isUnchanged;
        lock (_gate)
        {
            isUnchanged = _pages.Count == 0 && _length == _belowEnd;
        }

        return isUnchanged ? _below.FindDataAsync(offset, cancellationToken) : base.FindDataAsync(offset, cancellationToken);
    }

    public override ValueTask DisposeAsync()
    {
        _turn.Dispose();
        return ValueTask.CompletedTask;
    }

    private async ValueTask WritePageAsync(long page, int within, ReadOnlyMemory<byte> part, CancellationToken cancellationToken)
    {
        byte[]? bytes;
        bool isThere;
        lock (_gate)
        {
            isThere = _pages.TryGetValue(page, out bytes);
        }

        if (bytes is null
            && !part.Span.ContainsAnyExcept((byte)0)
            && (isThere || part.Length == PageBytes || page * PageBytes >= _belowEnd))
        {
            lock (_gate)
            {
                if (page * PageBytes < _belowEnd)
                {
                    _pages[page] = null;
                }

                ReachTo((page * PageBytes) + within + part.Length);
            }

            return;
        }

        byte[] changed = bytes ?? new byte[PageBytes];
        if (!isThere && part.Length < PageBytes)
        {
            int count = (int)Math.Clamp(_belowEnd - (page * PageBytes), 0, PageBytes);
            await _below.ReadZeroFilledAsync(page * PageBytes, changed.AsMemory(0, count), cancellationToken).ConfigureAwait(false);
        }

        lock (_gate)
        {
            part.Span.CopyTo(changed.AsSpan(within));
            _pages[page] = changed;
            ReachTo((page * PageBytes) + within + part.Length);
        }
    }

    private void ReachTo(long endBytes)
    {
        _length = Math.Max(_length, endBytes);
        _writtenEnd = Math.Max(_writtenEnd, endBytes);
    }

    private void RequireFits(long endBytes)
    {
        if (CapacityBytes is { } capacity && endBytes > capacity)
        {
            throw NoSpaceException.OfVolume(Name, endBytes, capacity);
        }
    }

    /// <summary>Receives guest data: keeps only the storage's length, not the data.</summary>
    private sealed class Places(RehearsalStorage whole) : ImageStorage
    {
        public override string Name => whole.Name;

        public override object? Identity => whole.Identity;

        public override long Length => whole.Length;

        public override long? CapacityBytes => whole.CapacityBytes;

        public override bool CanWrite => true;

        internal override ImageStorage GuestData => this;

        public override ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            whole.ReadAsync(offset, buffer, cancellationToken);

        public override ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            cancellationToken.ThrowIfCancellationRequested();
            whole.RequireFits(offset + buffer.Length);
            lock (whole._gate)
            {
                whole.ReachTo(offset + buffer.Length);
            }

            return ValueTask.CompletedTask;
        }

        public override ValueTask FlushAsync(CancellationToken cancellationToken = default) => ValueTask.CompletedTask;

        public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default) =>
            whole.SetLengthAsync(length, cancellationToken);

        public override ValueTask DisposeAsync() => ValueTask.CompletedTask;

        internal override ValueTask<bool> TryZeroAsync(long offset, long length, CancellationToken cancellationToken) =>
            ValueTask.FromResult(true);
    }
}
