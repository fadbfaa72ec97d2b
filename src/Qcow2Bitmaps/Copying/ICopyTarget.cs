using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Copying;

/// <summary>What a disk is copied to. Calls may run side by side, for parts that do not overlap.</summary>
internal interface ICopyTarget : IAsyncDisposable
{
    /// <summary>From where on the disk reads as zeros, as long as nobody writes there, in bytes; <see cref="long.MaxValue"/> where nothing is known.</summary>
    long ZeroFromBytes { get; }

    /// <summary>What the target reads; null where that is not known from tables, or where the target itself has to hold zeros that are copied.</summary>
    ChainMap? Map { get; }

    /// <summary>The smallest part that it is of use to leave out, in bytes; a power of two.</summary>
    int UnitBytes { get; }

    /// <summary>How many bytes of the disk are written together at least, where it goes by whole clusters; a power of two.</summary>
    int ClusterBytes { get; }

    ValueTask ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken);

    /// <summary>Writes bytes.</summary>
    /// <param name="offset">Where on the disk.</param>
    /// <param name="bytes">The bytes.</param>
    /// <param name="origin">Where a source has them, which may be shared with it; null when they are to be written.</param>
    /// <param name="cancellationToken">Ends the writing.</param>
    ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> bytes, BytesOrigin? origin, CancellationToken cancellationToken);

    ValueTask WriteZerosAsync(long offset, long length, CancellationToken cancellationToken);

    ValueTask WriteCompressedAsync(long offset, ReadOnlyMemory<byte> cluster, CancellationToken cancellationToken);

    /// <summary>Makes the target whole. Until then it goes again when it is disposed, if there was nothing before.</summary>
    /// <param name="bitmaps">Bitmaps that it is to have.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    ValueTask CompleteAsync(IReadOnlyList<CarriedBitmap> bitmaps, CancellationToken cancellationToken);
}
