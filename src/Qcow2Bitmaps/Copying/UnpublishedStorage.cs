using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Copying;

/// <summary>
/// Keeps the first sector of an image under construction in memory until the image is complete: until then nothing
/// recognizes the file as an image.
/// </summary>
/// <remarks>
/// Thread-safe after the first write has completed, which also makes the previous content unrecognizable as an image. The underlying
/// storage stays open when this one is disposed.
/// </remarks>
internal sealed class UnpublishedStorage(ImageStorage storage, bool isFlushed) : BorrowedStorage(storage, isFlushed)
{
    private const int SectorBytes = 512;

    private readonly Lock _gate = new();
    private readonly byte[] _sector = new byte[SectorBytes];
    private bool _hasBegun;

    /// <summary>Makes the image visible, with everything written to it.</summary>
    /// <param name="cancellationToken">Ends the wait before it appears.</param>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask PublishAsync(CancellationToken cancellationToken)
    {
        await FlushAsync(cancellationToken).ConfigureAwait(false);
        await base.WriteAsync(0, _sector, CancellationToken.None).ConfigureAwait(false);
        await FlushAsync(CancellationToken.None).ConfigureAwait(false);
    }

    public override async ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int read = await base.ReadAsync(offset, buffer, cancellationToken).ConfigureAwait(false);
        int count = (int)Math.Min(read, SectorBytes - offset);
        if (count > 0)
        {
            lock (_gate)
            {
                _sector.AsSpan((int)offset, count).CopyTo(buffer.Span);
            }
        }

        return read;
    }

    public override async ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        await BeginAsync(cancellationToken).ConfigureAwait(false);
        int kept = (int)Math.Clamp(SectorBytes - offset, 0, buffer.Length);
        lock (_gate)
        {
            buffer.Span[..kept].CopyTo(_sector.AsSpan((int)Math.Min(offset, SectorBytes)));
        }

        if (kept < buffer.Length)
        {
            await base.WriteAsync(offset + kept, buffer[kept..], cancellationToken).ConfigureAwait(false);
        }
    }

    public override async ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default)
    {
        await BeginAsync(cancellationToken).ConfigureAwait(false);
        await base.SetLengthAsync(length, cancellationToken).ConfigureAwait(false);
    }

    internal override ValueTask<bool> TryCloneAsync(BytesOrigin origin, long offset, long length, CancellationToken cancellationToken) =>
        offset < SectorBytes || !_hasBegun ? ValueTask.FromResult(false) : base.TryCloneAsync(origin, offset, length, cancellationToken);

    private async ValueTask BeginAsync(CancellationToken cancellationToken)
    {
        if (_hasBegun)
        {
            return;
        }

        if (Length > 0)
        {
            await base.WriteAsync(0, new byte[(int)Math.Min(Length, SectorBytes)], cancellationToken).ConfigureAwait(false);
            await FlushAsync(cancellationToken).ConfigureAwait(false);
        }

        _hasBegun = true;
    }
}
