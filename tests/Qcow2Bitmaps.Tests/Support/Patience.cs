namespace Qcow2Bitmaps.Tests.Support;

/// <summary>How long tests wait before they call something hanging. Tests measure no time: a machine may be busy with other work.</summary>
internal static class Patience
{
    /// <summary>Far more than anything takes, even where other programs leave a tenth of the processor.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    /// <summary>The limit of patterns, in milliseconds.</summary>
    public const int PatternMilliseconds = 300_000;

    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(10);

    /// <summary>Waits until something is so that no event tells of.</summary>
    /// <exception cref="TimeoutException">It was not so within the limit.</exception>
    public static Task UntilAsync(Func<bool> isSo, string what) => UntilAsync(() => Task.FromResult(isSo()), what);

    /// <inheritdoc cref="UntilAsync(Func{bool}, string)"/>
    public static async Task UntilAsync(Func<Task<bool>> isSo, string what)
    {
        long started = TimeProvider.System.GetTimestamp();
        while (!await isSo())
        {
            if (TimeProvider.System.GetElapsedTime(started) > Limit)
            {
                throw new TimeoutException($"Not within {Limit}: {what}");
            }

            await Task.Delay(s_pause, TestContext.Current.CancellationToken);
        }
    }
}
