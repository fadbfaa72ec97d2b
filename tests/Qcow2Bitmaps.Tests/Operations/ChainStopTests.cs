using System.Globalization;
using FsCheck.Fluent;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// Operations that are stopped anywhere, or cancelled: the guest sees the same, no bitmap that is valid misses a change, and run again they
/// end as if they had not been stopped. Commits that are stopped are those of <see cref="ChainCommitCrashTests"/>.
/// </summary>
public sealed class ChainStopTests
{
    private const int CancelledPerCase = 12;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<string> Stopped => [.. StoppableOperation.Kinds.Where(static kind => kind != "commit")];

    public static TheoryData<string> Cancelled => [.. StoppableOperation.Kinds];

    [Theory]
    [MemberData(nameof(Stopped))]
    public void StoppedAnywhereItIsRunAgainAndEndsTheSame(string kind)
    {
        Qemu.Require();
        (int stops, int reruns) = (0, 0);
        Properties.ForAll(Gen.Choose(0, int.MaxValue), 6 * Properties.Factor, seed =>
        {
            (int Stops, int Reruns) done = StopAsync(kind, seed).GetAwaiter().GetResult();
            (stops, reruns) = (stops + done.Stops, reruns + done.Reruns);
        });
        TestContext.Current.TestOutputHelper?.WriteLine(
            string.Create(CultureInfo.InvariantCulture, $"{kind}: {stops} stops, {reruns} run again"));
        Assert.True(reruns > Properties.Factor && stops > reruns, $"{stops} stops, {reruns} run again");
    }

    [Theory]
    [MemberData(nameof(Cancelled))]
    public void CancelledAnywhereItIsRunAgainAndEndsTheSame(string kind)
    {
        Qemu.Require();
        int cancelled = 0;
        Properties.ForAll(
            Gen.Choose(0, int.MaxValue), 6 * Properties.Factor, seed => cancelled += CancelAsync(kind, seed).GetAwaiter().GetResult());
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{kind}: {cancelled} cancelled"));
        Assert.True(cancelled > Properties.Factor, $"{cancelled} cancelled");
    }

    private static async Task<(int Stops, int Reruns)> StopAsync(string kind, int seed)
    {
        (StoppableOperation operation, CrashChain whole) = await RunWholeAsync(kind, seed);
        ChainView before = await ChainView.ReadAsync(new CrashChain(operation.Images), operation.Active);
        ChainView end = await ChainView.ReadAsync(whole, operation.Seen);
        before.AssertKept(await ChainView.ReadAsync(whole, operation.Active), operation.Name, operation.Stays);
        (int stops, int reruns) = (0, 0);
        foreach ((Dictionary<string, byte[]> content, string description) in whole.Stops((ulong)seed, samples: 3))
        {
            var stopped = new CrashChain(content);
            before.AssertKept(await ChainView.ReadAsync(stopped, operation.Active), $"{operation.Name}, {description}", operation.Stays);
            if (++stops % 4 == 0)
            {
                reruns++;
                await RunAgainAsync(operation, stopped, before, end, description);
            }
        }

        return (stops, reruns);
    }

    private static async Task<int> CancelAsync(string kind, int seed)
    {
        (StoppableOperation operation, CrashChain whole) = await RunWholeAsync(kind, seed);
        ChainView before = await ChainView.ReadAsync(new CrashChain(operation.Images), operation.Active);
        ChainView end = await ChainView.ReadAsync(whole, operation.Seen);
        int cancelled = 0;
        int step = Math.Max(1, whole.Operations / CancelledPerCase);
        for (int at = 1 + (seed % step); at <= whole.Operations; at += step)
        {
            using var source = new CancellationTokenSource();
            var chains = new CrashChain(operation.Images) { CancelledBy = source, CancelledAt = at };
            string context = string.Create(CultureInfo.InvariantCulture, $"cancelled at operation {at} of {whole.Operations}");
            try
            {
                await operation.RunAsync(chains, source.Token);
            }
            catch (OperationCanceledException)
            {
                cancelled++;
            }

            before.AssertKept(await ChainView.ReadAsync(chains, operation.Active), $"{operation.Name}, {context}", operation.Stays);
            await RunAgainAsync(operation, chains, before, end, context);
        }

        return cancelled;
    }

    /// <summary>Makes an operation that writes something, and runs it to its end.</summary>
    private static async Task<(StoppableOperation Operation, CrashChain Whole)> RunWholeAsync(string kind, int seed)
    {
        const int Most = 50;
        for (int i = 0; i < Most; i++)
        {
            if (await StoppableOperation.MakeAsync(kind, (int)(((uint)seed + (uint)i) & int.MaxValue)) is { } operation)
            {
                var whole = new CrashChain(operation.Images);
                await operation.RunAsync(whole, Token);
                if (whole.Operations > 0)
                {
                    return (operation, whole);
                }
            }
        }

        throw new InvalidOperationException($"None of {Most} cases behind seed {seed} writes anything");
    }

    private static async Task RunAgainAsync(
        StoppableOperation operation, CrashChain chains, ChainView before, ChainView end, string context)
    {
        context = $"{operation.Name}, {context}, run again";
        await operation.RunAsync(chains, Token);
        before.AssertKept(await ChainView.ReadAsync(chains, operation.Active), context, operation.Stays);
        ChainView again = await ChainView.ReadAsync(chains, operation.Seen);
        end.AssertKept(again, context);
        Assert.Equal(end.Names, again.Names);
        bool isSame = operation.HasSameBits ? end.Stored == again.Stored : end.StoredWithoutBits == again.StoredWithoutBits;
        Assert.True(isSame, $"{context}: the bitmaps, not stopped:\n{end.Stored}\nstopped and run again:\n{again.Stored}");
    }
}
