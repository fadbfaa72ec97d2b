namespace Qcow2Bitmaps.Threading;

/// <summary>
/// Lets one caller at a time change an image's metadata. A writer of guest data is paused meanwhile, with all its changes on disk.
/// Thread-safe.
/// </summary>
internal sealed class ImageGate
{
    private readonly SharedLock _inner = new();
    private volatile bool _isClosed;

    /// <summary>The writer of guest data. May be changed only while the gate is held.</summary>
    public IQuiescent? Writer { get; set; }

    /// <summary>The owner of the bitmaps in memory; no other caller may change the bitmaps. May be changed only while the gate is
    /// held.</summary>
    public object? Recorder { get; set; }

    /// <summary>Waits until no other caller holds the gate and the writer is paused.</summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>Must be disposed once, to admit the next caller.</returns>
    /// <exception cref="ObjectDisposedException">The image is closed.</exception>
    /// <exception cref="IOException">The changes that the writer had in memory could not be written.</exception>
    public async ValueTask<Release> EnterAsync(CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_isClosed, this);
        SharedLock.Release turn = await _inner.EnterAloneAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            // It may have been closed during the wait.
            ObjectDisposedException.ThrowIf(_isClosed, this);
            return new Release(turn, Writer is { } writer ? await writer.HaltAsync(cancellationToken).ConfigureAwait(false) : null);
        }
        catch
        {
            turn.Dispose();
            throw;
        }
    }

    /// <summary>Admits no more callers: the image is closed.</summary>
    public void Close() => _isClosed = true;

    /// <summary>Lets the next one in when it, or a copy of it, is first disposed.</summary>
    public readonly record struct Release(SharedLock.Release Turn, IDisposable? Halted) : IDisposable
    {
        public void Dispose()
        {
            Halted?.Dispose();
            Turn.Dispose();
        }
    }
}
