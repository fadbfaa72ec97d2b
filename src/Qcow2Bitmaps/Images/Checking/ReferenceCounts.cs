using System.Numerics;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>How often each cluster of the file is used: the correct reference counts.</summary>
/// <remarks>
/// Only pages of 256 clusters with a use take memory: 2 bits per cluster, which are 64 bytes per page. A count that does not fit is kept in
/// a dictionary; a page with many of these gets fields of 8, then of 32 bits. Counts saturate at the largest that the image can store, or
/// at 2^32-1.
/// </remarks>
internal sealed class ReferenceCounts
{
    public const int PageShift = 8;
    public const int PageClusters = 1 << PageShift;
    public const int WordShift = 5;
    /// <summary>A word of 2-bit fields with the value 1.</summary>
    public const ulong AllOnce = 0x5555_5555_5555_5555;

    private const int UnitWords = 8;
    private const int SlabShift = 13;
    private const int LastLevel = 2;
    private const int LevelBits = 2;
    // Approximate dictionary memory per count.
    private const int BytesPerLargeCount = 32;

    private readonly long _clusters;
    private readonly ulong _max;
    // For each page 0, or where its fields start, in units of 64 bytes from 1, and its level: fields of 2, 8 or 32 bits.
    private readonly uint[] _pages;
    private readonly List<ulong[]> _slabs = [];
    private readonly Stack<uint>[] _free = [[], []];
    // Counts of fields that have all bits set. Not used with 32-bit fields.
    private readonly Dictionary<long, ulong> _large = [];
    private uint _nextUnit;

    public ReferenceCounts(long clusters, ulong maxCount)
    {
        _clusters = clusters;
        _max = Math.Min(maxCount, uint.MaxValue);
        _pages = new uint[(clusters + PageClusters - 1) >> PageShift];
    }

    /// <summary>The count of a cluster, at most 2^32-1; 0 for a cluster past the end.</summary>
    public uint this[long cluster]
    {
        get
        {
            if (cluster >= _clusters || _pages[cluster >> PageShift] is not (> 0 and uint page))
            {
                return 0;
            }

            uint field = Field(page, (int)cluster & (PageClusters - 1));
            return IsMarker(page, field) ? (uint)_large[cluster] : field;
        }
    }

    /// <summary>The first page with counts in a range of pages; the range's end if there is none.</summary>
    public long NextUsedPage(long page, long endPage)
    {
        int found = _pages.AsSpan((int)page, (int)(endPage - page)).IndexOfAnyExcept(0U);
        return found < 0 ? endPage : page + found;
    }

    /// <summary>The 2-bit fields of a page, 32 to a word from the lowest bits; empty when it has wider ones, or none.</summary>
    /// <remarks>A field of 3 stands for a larger count.</remarks>
    public ReadOnlySpan<ulong> NarrowWords(long page) =>
        _pages[page] is > 0 and uint value && Level(value) == 0 ? Words(value, UnitWords) : [];

    public bool IsUnused(long page) => _pages[page] == 0;

    /// <summary>Counts uses of contiguous clusters; those past the end are ignored.</summary>
    /// <param name="first">The first cluster.</param>
    /// <param name="end">The cluster after the last.</param>
    /// <param name="times">How often each is used.</param>
    /// <param name="excess">How many uses of the returned cluster could not be counted; 0 if all could.</param>
    /// <returns>The first cluster whose count could not be raised so far, all before it being counted; the
    /// end when there is none.</returns>
    public long AddRun(long first, long end, long times, out ulong excess)
    {
        excess = 0;
        long countable = Math.Min(end, _clusters);
        long cluster = first;
        while (cluster < countable)
        {
            int bit = (int)cluster & ((1 << WordShift) - 1);
            int run = (int)Math.Min((1 << WordShift) - bit, countable - cluster);
            if (run == 1 || times != 1 || !TryAddOnce(cluster, (AllOnce >> (2 * ((1 << WordShift) - run))) << (2 * bit)))
            {
                for (long last = cluster + run; cluster < last; cluster++)
                {
                    excess = Add(cluster, times);
                    if (excess > 0)
                    {
                        return cluster;
                    }
                }

                continue;
            }

            cluster += run;
        }

        return end;
    }

    /// <summary>Counts uses of a cluster, which must not be past the end.</summary>
    /// <returns>How many uses could not be counted.</returns>
    public ulong Add(long cluster, long times)
    {
        uint page = PageOf(cluster);
        int index = (int)cluster & (PageClusters - 1);
        if (Level(page) == 0)
        {
            ref ulong word = ref Words(page, UnitWords)[index >> WordShift];
            int shift = 2 * (index & ((1 << WordShift) - 1));
            ulong sum = ((word >> shift) & 3) + (ulong)times;
            if (sum < 3 && sum <= _max)
            {
                word += (ulong)times << shift;
                return 0;
            }
        }

        ulong wanted = this[cluster] + (ulong)times;
        ulong possible = Math.Min(wanted, _max);
        Set(cluster, (uint)possible);
        return wanted - possible;
    }

    /// <summary>How many pages there are, used or not.</summary>
    public long PageCount => _pages.Length;

    /// <summary>Replaces the count of a cluster, unless it is past the end.</summary>
    public void TrySet(long cluster, uint count)
    {
        if (cluster < _clusters)
        {
            Set(cluster, count);
        }
    }

    /// <summary>Replaces the count of a cluster, which must not be past the end.</summary>
    public void Set(long cluster, uint count)
    {
        while (true)
        {
            uint page = PageOf(cluster);
            int index = (int)cluster & (PageClusters - 1);
            bool isLarge = Level(page) < LastLevel && count >= Marker(Level(page));
            bool wasLarge = IsMarker(page, Field(page, index));
            if (isLarge && !wasLarge && HasManyLarge(page))
            {
                Widen(cluster >> PageShift);
                continue;
            }

            if (isLarge)
            {
                _large[cluster] = count;
            }
            else if (wasLarge)
            {
                _large.Remove(cluster);
            }

            SetField(page, index, isLarge ? Marker(Level(page)) : count);
            return;
        }
    }

    private static int Level(uint page) => (int)(page & ((1 << LevelBits) - 1));

    private static int FieldShift(int level) => 1 + (2 * level);

    private static uint Marker(int level) => uint.MaxValue >> (32 - (1 << FieldShift(level)));

    private static bool IsMarker(uint page, uint field) => Level(page) < LastLevel && field == Marker(Level(page));

    /// <summary>Counts a use of some clusters of a word, if all fits.</summary>
    private bool TryAddOnce(long cluster, ulong ones)
    {
        uint page = PageOf(cluster);
        if (Level(page) != 0)
        {
            return false;
        }

        ref ulong word = ref Words(page, UnitWords)[((int)cluster & (PageClusters - 1)) >> WordShift];
        // Fields of 0 or 1 become 1 or 2; if the maximum is 1, only fields of 0 are allowed.
        ulong tooLarge = word & (_max == 1 ? ones : ones << 1);
        if (tooLarge != 0)
        {
            return false;
        }

        word += ones;
        return true;
    }

    private uint PageOf(long cluster)
    {
        ref uint page = ref _pages[cluster >> PageShift];
        if (page == 0)
        {
            page = Allocate(level: 0);
        }

        return page;
    }

    private Span<ulong> Words(uint page, int count)
    {
        uint unit = (page >> LevelBits) - 1;
        return _slabs[(int)(unit >> SlabShift)].AsSpan((int)(unit & ((1 << SlabShift) - 1)) * UnitWords, count);
    }

    private Span<ulong> Words(uint page) => Words(page, UnitWords << (2 * Level(page)));

    private uint Field(uint page, int index)
    {
        int shift = FieldShift(Level(page));
        int perWordShift = 6 - shift;
        return (uint)((Words(page)[index >> perWordShift] >> ((index & ((1 << perWordShift) - 1)) << shift)) & Marker(Level(page)));
    }

    private void SetField(uint page, int index, uint value)
    {
        int fieldShift = FieldShift(Level(page));
        int perWordShift = 6 - fieldShift;
        ref ulong word = ref Words(page)[index >> perWordShift];
        int shift = (index & ((1 << perWordShift) - 1)) << fieldShift;
        word = (word & ~((ulong)Marker(Level(page)) << shift)) | ((ulong)value << shift);
    }

    /// <summary>Whether wider fields would take less memory than a page's counts in the dictionary.</summary>
    private bool HasManyLarge(uint page)
    {
        int large = 0;
        if (Level(page) == 0)
        {
            foreach (ulong word in Words(page))
            {
                large += BitOperations.PopCount(word & (word >> 1) & AllOnce);
            }
        }
        else
        {
            for (int i = 0; i < PageClusters; i++)
            {
                large += IsMarker(page, Field(page, i)) ? 1 : 0;
            }
        }

        return large >= (UnitWords * sizeof(ulong) << (2 * (Level(page) + 1))) / BytesPerLargeCount;
    }

    private void Widen(long pageIndex)
    {
        uint old = _pages[pageIndex];
        uint wide = Allocate(Level(old) + 1);
        _pages[pageIndex] = wide;
        for (int i = 0; i < PageClusters; i++)
        {
            uint field = Field(old, i);
            long cluster = (pageIndex << PageShift) + i;
            uint count = IsMarker(old, field) ? (uint)_large[cluster] : field;
            bool isLarge = Level(wide) < LastLevel && count >= Marker(Level(wide));
            SetField(wide, i, isLarge ? Marker(Level(wide)) : count);
            if (!isLarge && IsMarker(old, field))
            {
                _large.Remove(cluster);
            }
        }

        _free[Level(old)].Push(old);
    }

    private uint Allocate(int level)
    {
        if (level < LastLevel && _free[level].TryPop(out uint free))
        {
            Words(free).Clear();
            return free;
        }

        // Fields do not reach over a slab's end: units of a level are a power of two.
        uint units = 1U << (2 * level);
        uint unit = (_nextUnit + units - 1) & ~(units - 1);
        _nextUnit = unit + units;
        while (_slabs.Count <= (int)(unit >> SlabShift))
        {
            _slabs.Add(new ulong[UnitWords << SlabShift]);
        }

        return ((unit + 1) << LevelBits) | (uint)level;
    }
}
