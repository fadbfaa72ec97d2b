using FsCheck.Fluent;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Checking;

/// <summary>Counts of all widths of fields are those of a plain dictionary.</summary>
public sealed class ReferenceCountsTests
{
    private const int Clusters = 3000;

    [Theory]
    [InlineData(1UL)]
    [InlineData(3UL)]
    [InlineData(255UL)]
    [InlineData(65535UL)]
    [InlineData(ulong.MaxValue)]
    public void CountsAreThoseOfADictionary(ulong max)
    {
        var run = from first in Gen.Choose(0, Clusters - 1)
                  from length in Gen.Choose(1, 700)
                  from times in Gen.Frequency((6, Gen.Constant(1)), (3, Gen.Choose(1, 300)), (1, Gen.Choose(1, int.MaxValue)))
                  select (first, length, times);
        Properties.ForAll(run.ListOf(), 200, runs =>
        {
            var counts = new ReferenceCounts(Clusters, max);
            var model = new ulong[Clusters];
            foreach ((int first, int length, int times) in runs)
            {
                long cluster = first;
                long end = first + length;
                while ((cluster = counts.AddRun(cluster, end, times, out ulong excess)) < end)
                {
                    ulong wanted = model[cluster] + (ulong)times;
                    Assert.Equal(wanted - Math.Min(wanted, Math.Min(max, uint.MaxValue)), excess);
                    cluster++;
                }

                for (long i = first; i < Math.Min(end, Clusters); i++)
                {
                    model[i] = Math.Min(model[i] + (ulong)times, Math.Min(max, uint.MaxValue));
                }
            }

            for (int i = 0; i < Clusters; i++)
            {
                Assert.Equal(model[i], counts[i]);
            }

            Assert.Equal(0U, counts[Clusters + 5]);
        });
    }

    [Fact]
    public void SetReplacesCountsOfAllSizes()
    {
        var counts = new ReferenceCounts(Clusters, uint.MaxValue);
        var random = new SplitMix(7);
        var model = new uint[Clusters];
        for (int i = 0; i < 20_000; i++)
        {
            int cluster = random.Below(Clusters);
            model[cluster] = (uint)(random.Next() >> (32 + random.Below(32)));
            counts.Set(cluster, model[cluster]);
        }

        Assert.Equal(model, Enumerable.Range(0, Clusters).Select(i => counts[i]));
    }

    [Fact]
    public void ManyScatteredClustersTakeLittleMemory()
    {
        const int Uses = 500_000;
        long before = GC.GetAllocatedBytesForCurrentThread();
        var counts = new ReferenceCounts(Uses * 1000L, ushort.MaxValue);
        ulong excess = 0;
        for (long i = 0; i < Uses; i++)
        {
            excess += counts.Add(i * 1000, 1);
        }

        Assert.Equal(0UL, excess);
        // 64 bytes for each page, and 4 for each page that there could be.
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 42 << 20);
    }
}
