namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>A clock that stands still, but for timers: each one has run out at once, and the clock has gone on by its time.</summary>
internal sealed class SkippedTime : TimeProvider
{
    private long _ticks;

    public double Seconds => TimeSpan.FromTicks(_ticks).TotalSeconds;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => _ticks;

    public void Skip(TimeSpan time) => _ticks += time.Ticks;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        Skip(dueTime > TimeSpan.Zero ? dueTime : TimeSpan.Zero);
        return TimeProvider.System.CreateTimer(callback, state, TimeSpan.Zero, period);
    }
}
