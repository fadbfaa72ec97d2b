namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>A clock that stands still, but for timers: each one has run out at once, and the clock has gone on by its time.</summary>
internal sealed class SkippedTime : TimeProvider
{
    private long _ticks;

    public double Seconds => (double)_ticks / TimeSpan.TicksPerSecond;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => _ticks;

    public void Skip(long ticks) => _ticks += ticks;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        Skip(Math.Max(dueTime.Ticks, 0));
        return TimeProvider.System.CreateTimer(callback, state, TimeSpan.Zero, period);
    }
}
