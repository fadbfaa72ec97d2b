namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>Holds work while it is paused. Thread-safe.</summary>
internal sealed class PauseGate
{
    private readonly Lock _gate = new();
    private TaskCompletionSource? _resumed;

    public bool IsPaused => Paused is not null;

    private TaskCompletionSource? Paused
    {
        get
        {
            lock (_gate)
            {
                return _resumed;
            }
        }
    }

    public void Pause()
    {
        lock (_gate)
        {
            _resumed ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }

    public void Resume()
    {
        lock (_gate)
        {
            _resumed?.SetResult();
            _resumed = null;
        }
    }

    public async ValueTask WaitAsync(CancellationToken cancellationToken)
    {
        while (Paused is { } paused)
        {
            await paused.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }
}
