using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Copying;

/// <summary>A storage that stays open when its user disposes it, and that ignores flushes if flushing is off.</summary>
/// <remarks>
/// An image under construction is worthless before it is complete, so the order of writes does not matter; and qemu-img does not
/// flush by default either.
/// </remarks>
internal class BorrowedStorage(ImageStorage storage, bool isFlushed) : ImageStorage
{
    /// <summary>The storage that stays open.</summary>
    public ImageStorage Lender => storage;

    public override string Name => storage.Name;

    public override object? Identity => storage.Identity;

    public override long? AllocatedBytes => storage.AllocatedBytes;

    public override long Length => storage.Length;

    public override bool CanWrite => storage.CanWrite;

    public override long? CapacityBytes => storage.CapacityBytes;

    internal override ImageStorage GuestData => ReferenceEquals(storage.GuestData, storage) ? this : storage.GuestData;

    internal override Int128? LastWrite => storage.LastWrite;

    public override bool IsOpenForWritingElsewhere() => storage.IsOpenForWritingElsewhere();

    public override ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        storage.ReadAsync(offset, buffer, cancellationToken);

    public override ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        storage.WriteAsync(offset, buffer, cancellationToken);

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default) =>
        isFlushed ? storage.FlushAsync(cancellationToken) : ValueTask.CompletedTask;

    public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default) =>
        storage.SetLengthAsync(length, cancellationToken);

    public override ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        storage.DiscardAsync(offset, length, cancellationToken);

    public override ValueTask<StorageRange?> FindDataAsync(long offset, CancellationToken cancellationToken = default) =>
        storage.FindDataAsync(offset, cancellationToken);

    public override ValueTask DisposeAsync() => ValueTask.CompletedTask;

    internal override ValueTask<bool> TryZeroAsync(long offset, long length, CancellationToken cancellationToken) =>
        storage.TryZeroAsync(offset, length, cancellationToken);

    internal override ValueTask<bool> TryCloneAsync(BytesOrigin origin, long offset, long length, CancellationToken cancellationToken) =>
        storage.TryCloneAsync(origin, offset, length, cancellationToken);

    internal override ValueTask<bool> TryAllocateAsync(long offset, long length, CancellationToken cancellationToken) =>
        storage.TryAllocateAsync(offset, length, cancellationToken);

    internal override ValueTask BeginWriteBackAsync(long offset, long length, CancellationToken cancellationToken) =>
        isFlushed ? storage.BeginWriteBackAsync(offset, length, cancellationToken) : ValueTask.CompletedTask;
}
