namespace Qcow2Bitmaps.Tests.Support;

/// <summary>What code allocates.</summary>
internal static class Allocations
{
    private const int Runs = 8;

    /// <summary>
    /// The bytes that a call allocates on this thread: the least of several runs, as the runtime now and then allocates something of its
    /// own, when it compiles a method again for instance.
    /// </summary>
    public static long Of(Action action)
    {
        long least = long.MaxValue;
        for (int i = 0; i < Runs; i++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            action();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}
