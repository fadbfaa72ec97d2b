namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Lets one caller at a time change an image's metadata. A writer of guest data stands still meanwhile, with all that it has done
/// on disk. Thread-safe.</summary>
internal sealed class ImageGate : IDisposable
{
    private readonly SemaphoreSlim _inner = new(1, 1);
    private IQuiescent? _halted;

    /// <summary>Who writes guest data. Only to be changed by who is inside.</summary>
    public IQuiescent? Writer { get; set; }

    /// <summary>Who keeps the bitmaps in memory, so that nobody else may change them. Only to be changed by who is inside.</summary>
    public object? Recorder { get; set; }

    /// <summary>Waits until nobody else is inside, and the writer stands still.</summary>
    /// <exception cref="IOException">What the writer had in memory could not be written.</exception>
    public async Task WaitAsync(CancellationToken cancellationToken)
    {
        await _inner.WaitAsync(cancellationToken).ConfigureAwait(false);
        if (Writer is not { } writer)
        {
            return;
        }

        try
        {
            await writer.HaltAsync().ConfigureAwait(false);
            _halted = writer;
        }
        catch
        {
            _inner.Release();
            throw;
        }
    }

    /// <summary>Lets the next one in.</summary>
    public void Release()
    {
        IQuiescent? halted = _halted;
        _halted = null;
        halted?.Resume();
        _inner.Release();
    }

    public void Dispose() => _inner.Dispose();
}
