using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>A storage that shares bytes with others, block by block, as some file systems do; here it copies them.</summary>
internal sealed class CloningStorage(ImageStorage storage) : BorrowedStorage(storage, isFlushed: true)
{
    public const int BlockBytes = 4096;

    private readonly ImageStorage _storage = storage;

    /// <summary>How many bytes are shared.</summary>
    public long ClonedBytes { get; private set; }

    internal override async ValueTask<bool> TryCloneAsync(BytesOrigin origin, long offset, long length, CancellationToken cancellationToken)
    {
        if (((origin.Offset | offset | length) & (BlockBytes - 1)) != 0 || origin.Offset + length > origin.Storage.Length)
        {
            return false;
        }

        var bytes = new byte[length];
        await origin.Storage.ReadZeroFilledAsync(origin.Offset, bytes, cancellationToken);
        await _storage.WriteAsync(offset, bytes, cancellationToken);
        ClonedBytes += length;
        return true;
    }
}
