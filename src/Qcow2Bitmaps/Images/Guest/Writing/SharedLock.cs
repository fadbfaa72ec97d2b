namespace Qcow2Bitmaps.Images.Guest.Writing;

/// <summary>A lock that many hold together, or one alone. Who waits to hold it alone keeps newcomers out. Thread-safe.</summary>
internal sealed class SharedLock
{
    private readonly Lock _gate = new();
    private readonly Queue<(bool IsAlone, TaskCompletionSource Entered)> _waiting = [];
    private int _together;
    private bool _isAlone;

    /// <summary>Waits until the lock can be held together with others.</summary>
    public Task EnterAsync() => EnterAsync(isAlone: false);

    /// <summary>Waits until nobody else holds the lock.</summary>
    public Task EnterAloneAsync() => EnterAsync(isAlone: true);

    /// <summary>Gives up the lock.</summary>
    public void Exit()
    {
        lock (_gate)
        {
            if (_isAlone)
            {
                _isAlone = false;
            }
            else
            {
                _together--;
            }

            while (_waiting.TryPeek(out (bool IsAlone, TaskCompletionSource Entered) next) && CanEnter(next.IsAlone))
            {
                _waiting.Dequeue();
                Take(next.IsAlone);
                next.Entered.SetResult();
            }
        }
    }

    private Task EnterAsync(bool isAlone)
    {
        lock (_gate)
        {
            if (_waiting.Count == 0 && CanEnter(isAlone))
            {
                Take(isAlone);
                return Task.CompletedTask;
            }

            var entered = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiting.Enqueue((isAlone, entered));
            return entered.Task;
        }
    }

    private bool CanEnter(bool isAlone) => !_isAlone && (!isAlone || _together == 0);

    private void Take(bool isAlone)
    {
        _isAlone = isAlone;
        _together += isAlone ? 0 : 1;
    }
}
