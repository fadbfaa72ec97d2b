namespace Qcow2Bitmaps.Images.Guest.Writing;

/// <summary>Lets one caller at a time have a range of the disk. Thread-safe.</summary>
internal sealed class RangeLock
{
    private readonly Lock _gate = new();
    private readonly LinkedList<(long Start, long End, TaskCompletionSource Released)> _held = [];

    /// <summary>Waits until nobody has any part of a range, and takes it.</summary>
    /// <returns>To be disposed when the range is no longer needed.</returns>
    public async ValueTask<IDisposable> EnterAsync(long start, long end, CancellationToken cancellationToken)
    {
        while (true)
        {
            Task other;
            lock (_gate)
            {
                LinkedListNode<(long Start, long End, TaskCompletionSource Released)>? node = _held.First;
                while (node is not null && (node.Value.End <= start || end <= node.Value.Start))
                {
                    node = node.Next;
                }

                if (node is null)
                {
                    return new Holder(this, _held.AddLast((start, end, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously))));
                }

                other = node.Value.Released.Task;
            }

            await other.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private sealed class Holder(RangeLock owner, LinkedListNode<(long Start, long End, TaskCompletionSource Released)> node) : IDisposable
    {
        public void Dispose()
        {
            lock (owner._gate)
            {
                owner._held.Remove(node);
            }

            node.Value.Released.TrySetResult();
        }
    }
}
