namespace Qcow2Bitmaps.Threading;

/// <summary>A shared/exclusive lock. A waiter for exclusive access keeps later callers out. Thread-safe.</summary>
internal sealed class SharedLock
{
    private readonly Lock _gate = new();
    private readonly LinkedList<Waiter> _waiting = [];
    // A number for each that holds the lock: who gives it up a second time has none.
    private readonly HashSet<long> _holders = [];
    private long _lastHolder;
    private bool _isAlone;

    /// <summary>Waits for shared access.</summary>
    /// <param name="cancellationToken">Ends the wait; the lock is not held then.</param>
    /// <returns>Must be disposed once, to release the lock.</returns>
    public ValueTask<Release> EnterAsync(CancellationToken cancellationToken) => EnterAsync(isAlone: false, cancellationToken);

    /// <summary>Waits for exclusive access.</summary>
    /// <inheritdoc cref="EnterAsync(CancellationToken)"/>
    public ValueTask<Release> EnterAloneAsync(CancellationToken cancellationToken) => EnterAsync(isAlone: true, cancellationToken);

    private ValueTask<Release> EnterAsync(bool isAlone, CancellationToken cancellationToken)
    {
        if (cancellationToken.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<Release>(cancellationToken);
        }

        LinkedListNode<Waiter> node;
        lock (_gate)
        {
            if (_waiting.Count == 0 && CanEnter(isAlone))
            {
                return ValueTask.FromResult(new Release(this, Take(isAlone)));
            }

            node = _waiting.AddLast(new Waiter(isAlone));
        }

        return WaitAsync(node, cancellationToken);
    }

    private async ValueTask<Release> WaitAsync(LinkedListNode<Waiter> node, CancellationToken cancellationToken)
    {
        using CancellationTokenRegistration cancelling = cancellationToken.UnsafeRegister(_ => Abandon(node, cancellationToken), null);
        return new Release(this, await node.Value.Entered.Task.ConfigureAwait(false));
    }

    /// <summary>Removes a waiter from the queue, unless it has entered: later waiters may no longer have to wait.</summary>
    private void Abandon(LinkedListNode<Waiter> node, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (node.List is not null)
            {
                _waiting.Remove(node);
                node.Value.Entered.SetCanceled(cancellationToken);
                Admit();
            }
        }
    }

    private void Exit(long holder)
    {
        lock (_gate)
        {
            if (_holders.Remove(holder))
            {
                _isAlone = false;
                Admit();
            }
        }
    }

    private void Admit()
    {
        while (_waiting.First is { Value: var next } && CanEnter(next.IsAlone))
        {
            _waiting.RemoveFirst();
            next.Entered.SetResult(Take(next.IsAlone));
        }
    }

    private bool CanEnter(bool isAlone) => !_isAlone && (!isAlone || _holders.Count == 0);

    private long Take(bool isAlone)
    {
        _isAlone = isAlone;
        _holders.Add(++_lastHolder);
        return _lastHolder;
    }

    /// <summary>Gives up the lock when it, or a copy of it, is first disposed.</summary>
    public readonly record struct Release(SharedLock Owner, long Holder) : IDisposable
    {
        public void Dispose() => Owner.Exit(Holder);
    }

    private sealed class Waiter(bool isAlone)
    {
        public bool IsAlone => isAlone;

        public TaskCompletionSource<long> Entered { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
