using System.Diagnostics;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary><c>-r</c> of convert and commit: writes take the time that the rate gives them.</summary>
public sealed class RateTests
{
    private const int MiB = 1 << 20;

    [Fact]
    public async Task EachWriteWaitsForThoseBeforeIt()
    {
        var time = new SkippedTime();
        var rate = new CopyRate(MiB, time);

        foreach ((long bytes, double seconds) in new (long, double)[] { (MiB, 0), (2 * MiB, 1), (MiB / 2, 3), (MiB, 3.5) })
        {
            await rate.WaitAsync(bytes, TestContext.Current.CancellationToken);
            Assert.Equal(seconds, time.Seconds, 0.001);
        }

        // Time in which nothing was written is not made up for.
        time.Skip(100 * TimeSpan.TicksPerSecond);
        await rate.WaitAsync(MiB, TestContext.Current.CancellationToken);
        Assert.Equal(103.5, time.Seconds, 0.001);
        await rate.WaitAsync(MiB, TestContext.Current.CancellationToken);
        Assert.Equal(104.5, time.Seconds, 0.001);
    }

    [Fact]
    public async Task AWriteMayTakeLongerThanATimer()
    {
        var time = new SkippedTime();
        var rate = new CopyRate(1, time);

        await rate.WaitAsync(16L * 2 * MiB, TestContext.Current.CancellationToken);
        await rate.WaitAsync(1, TestContext.Current.CancellationToken);

        Assert.Equal(16.0 * 2 * MiB, time.Seconds, 0.001);
    }

    /// <summary>Three writes of 1 MiB at 2 MiB a second: the last one starts after a second, or later on a slow machine.</summary>
    [Theory]
    [InlineData("convert -r 2M -O qcow2 @top @new")]
    [InlineData("commit -r 2M @top")]
    public async Task TheVerbsKeepToIt(string commandLine)
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", folder.File("base"), "8M");
        await Qemu.RunAsync("qemu-img", folder.Path, "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top");
        await Qemu.IoOkAsync(folder.File("top"), "write -P 1 0 3M");
        long started = Stopwatch.GetTimestamp();

        await Support.Cli.OkAsync(
            [.. commandLine.Split(' ').Select(word => word.Replace("@", folder.Path + "/", StringComparison.Ordinal))]);

        Assert.InRange(Stopwatch.GetElapsedTime(started).Ticks, TimeSpan.TicksPerSecond * 99 / 100, long.MaxValue);
    }
}
