namespace Qcow2Bitmaps.Threading;

/// <summary>
/// Lets one caller at a time change an image's metadata. A writer of guest data stands still meanwhile, with all that it has done on disk.
/// Thread-safe.
/// </summary>
internal sealed class ImageGate
{
    private readonly SharedLock _inner = new();
    private volatile bool _isClosed;

    /// <summary>Who writes guest data. Only to be changed by who is inside.</summary>
    public IQuiescent? Writer { get; set; }

    /// <summary>Who keeps the bitmaps in memory, so that nobody else may change them. Only to be changed by who is inside.</summary>
    public object? Recorder { get; set; }

    /// <summary>Waits until nobody else is inside, and the writer stands still.</summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>To be disposed once, to let the next one in.</returns>
    /// <exception cref="ObjectDisposedException">The image is closed.</exception>
    /// <exception cref="IOException">What the writer had in memory could not be written.</exception>
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

    /// <summary>Lets nobody in any more: the image is closed.</summary>
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
