namespace Qcow2Bitmaps.Copying;

/// <summary>Spreads writes over time: what is written in a second is a number of bytes at most, apart from the size of one write.</summary>
/// <param name="bytesPerSecond">How many.</param>
/// <param name="time">The clock.</param>
internal sealed class CopyRate(long bytesPerSecond, TimeProvider time)
{
    // Longer ones than a timer takes are waited for in turns.
    private static readonly TimeSpan s_longestTurn = TimeSpan.FromHours(1);

    private readonly Lock _gate = new();
    private readonly long _start = time.GetTimestamp();
    private TimeSpan _free;

    /// <summary>Waits until it is a write's turn; turns are given in the order of the calls.</summary>
    /// <param name="bytes">How long the write is.</param>
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
