using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Storage;

/// <summary>Bytes in memory as storage, at most 2 GiB.</summary>
/// <remarks>Thread-safe: calls are serialized. Flushing does nothing; there are no locks.</remarks>
internal sealed class MemoryStorage : ImageStorage
{
    private readonly Lock _gate = new();
    private byte[] _bytes;
    private int _length;

    /// <summary>Creates a storage that can be written and grows as needed.</summary>
    /// <param name="content">Its first content, which is copied.</param>
    /// <param name="name">What to call it in messages.</param>
    public MemoryStorage(ReadOnlySpan<byte> content = default, string name = "memory")
        : this(content.ToArray(), name, canWrite: true)
    {
    }

    private MemoryStorage(byte[] bytes, string name, bool canWrite)
    {
        _bytes = bytes;
        _length = bytes.Length;
        Name = name;
        CanWrite = canWrite;
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override bool CanWrite { get; }

    /// <inheritdoc/>
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

    /// <summary>Serves an array without copying it, for reading only.</summary>
    /// <param name="bytes">The content; the caller must not change it afterwards.</param>
    /// <param name="name">What to call it in messages.</param>
    public static MemoryStorage ReadOnly(byte[] bytes, string name = "memory")
    {
        ArgumentNullException.ThrowIfNull(bytes);
        return new MemoryStorage(bytes, name, canWrite: false);
    }

    /// <summary>Copies the content.</summary>
    public byte[] ToArray()
    {
        lock (_gate)
        {
            return _bytes.AsSpan(0, _length).ToArray();
        }
    }

    /// <inheritdoc/>
    public override ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        lock (_gate)
        {
            int count = (int)Math.Clamp(_length - offset, 0, buffer.Length);
            if (count > 0)
            {
                _bytes.AsSpan((int)offset, count).CopyTo(buffer.Span);
            }

            return ValueTask.FromResult(count);
        }
    }

    /// <inheritdoc/>
    public override ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        RequireWritable();
        if (buffer.IsEmpty)
        {
            return ValueTask.CompletedTask;
        }

        lock (_gate)
        {
            int end = CheckedLength(offset <= Array.MaxLength ? offset + buffer.Length : long.MaxValue);
            if (end > _bytes.Length)
            {
                Array.Resize(ref _bytes, (int)Math.Min(Array.MaxLength, Math.Max(end, 2L * _bytes.Length)));
            }

            buffer.Span.CopyTo(_bytes.AsSpan((int)offset));
            _length = Math.Max(_length, end);
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public override ValueTask FlushAsync(CancellationToken cancellationToken = default)
    {
        RequireWritable();
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        RequireWritable();
        lock (_gate)
        {
            int newLength = CheckedLength(length);
            if (newLength > _bytes.Length)
            {
                Array.Resize(ref _bytes, newLength);
            }
            else if (newLength < _length)
            {
                // Truncated bytes must not reappear when the storage grows again.
                _bytes.AsSpan(newLength, _length - newLength).Clear();
            }

            _length = newLength;
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public override ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        RequireWritable();
        lock (_gate)
        {
            int start = (int)Math.Min(offset, _length);
            _bytes.AsSpan(start, (int)Math.Min(length, _length - start)).Clear();
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public override ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private int CheckedLength(long length) => length <= Array.MaxLength
        ? (int)length
        : throw IOException.Of($"'{Name}' cannot hold {length} bytes: memory storage ends at {Array.MaxLength}");

    private void RequireWritable()
    {
        if (!CanWrite)
        {
            throw new NotSupportedException(PrintableMessage.Of($"'{Name}' is open for reading only"));
        }
    }
}
