namespace Qcow2Bitmaps.Copying;

/// <summary>Limits the write rate: at most a number of bytes per second, plus the size of one write.</summary>
/// <param name="bytesPerSecond">The limit.</param>
/// <param name="time">The clock.</param>
internal sealed class CopyRate(long bytesPerSecond, TimeProvider time)
{
    // Waits longer than a timer supports are split.
    private static readonly TimeSpan s_longestTurn = TimeSpan.FromHours(1);

    private readonly Lock _gate = new();
    private readonly long _start = time.GetTimestamp();
    private TimeSpan _free;

    /// <summary>Waits until a write may start; writes are served in the order of the calls.</summary>
    /// <param name="bytes">The size of the write.</param>
    /// <param name="cancellationToken">Ends the waiting.</param>
    public async ValueTask WaitAsync(long bytes, CancellationToken cancellationToken)
    {
        TimeSpan due;
        lock (_gate)
        {
            TimeSpan now = time.GetElapsedTime(_start);
            due = _free > now ? _free : now;
            _free = due + TimeSpan.FromSeconds((double)bytes / bytesPerSecond);
        }

        for (TimeSpan left = due - time.GetElapsedTime(_start); left > TimeSpan.Zero; left = due - time.GetElapsedTime(_start))
        {
            await Task.Delay(left < s_longestTurn ? left : s_longestTurn, time, cancellationToken).ConfigureAwait(false);
        }
    }
}
