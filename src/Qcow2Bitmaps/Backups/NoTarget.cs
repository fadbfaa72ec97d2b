using System.Diagnostics;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>A target that takes all and keeps nothing: for reading alone.</summary>
internal sealed class NoTarget : ICopyTarget
{
    // Of a full raw backup what is no data is not held; of others all zeros that are there are.
    public required long ZeroFromBytes { get; init; }

    /// <summary>Of zeros too checksums are made.</summary>
    public ChainMap? Map => null;

    public int UnitBytes => GroupDigests.BlockBytes;

    public int ClusterBytes => GroupDigests.BlockBytes;

    public ValueTask ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) => throw new UnreachableException("Nothing is compared with what is there");

    public ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> bytes, BytesOrigin? origin, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    public ValueTask WriteZerosAsync(long offset, long length, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    public ValueTask WriteCompressedAsync(long offset, ReadOnlyMemory<byte> cluster, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    public ValueTask CompleteAsync(IReadOnlyList<CarriedBitmap> bitmaps, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
