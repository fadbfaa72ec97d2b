namespace Qcow2Bitmaps.Threading;

/// <summary>Gives ranges of the disk to one caller at a time. Thread-safe.</summary>
internal sealed class RangeLock
{
    private readonly Lock _gate = new();
    private readonly LinkedList<Held> _held = [];

    /// <summary>Waits until no part of a range is held, and takes the range.</summary>
    /// <param name="start">Where it starts.</param>
    /// <param name="end">Where it ends.</param>
    /// <param name="cancellationToken">Ends the wait; nothing is taken then.</param>
    /// <returns>Must be disposed once, to release the range.</returns>
    public async ValueTask<Release> EnterAsync(long start, long end, CancellationToken cancellationToken)
    {
        while (true)
        {
            Task other;
            lock (_gate)
            {
                LinkedListNode<Held>? node = _held.First;
                while (node is not null && (node.Value.End <= start || end <= node.Value.Start))
                {
                    node = node.Next;
                }

                if (node is null)
                {
                    return new Release(this, _held.AddLast(new Held(start, end)));
                }

                other = node.Value.Released.Task;
            }

            await other.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private void Exit(LinkedListNode<Held> node)
    {
        lock (_gate)
        {
            if (node.List is null)
            {
                return;
            }

            _held.Remove(node);
        }

        node.Value.Released.SetResult();
    }

    /// <summary>Gives up the range when it, or a copy of it, is first disposed.</summary>
    public readonly record struct Release(RangeLock Owner, LinkedListNode<Held> Node) : IDisposable
    {
        public void Dispose() => Owner.Exit(Node);
    }

    internal sealed class Held(long start, long end)
    {
        public long Start => start;

        public long End => end;

        public TaskCompletionSource Released { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
