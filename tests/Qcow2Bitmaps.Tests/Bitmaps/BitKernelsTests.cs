using FsCheck;
using FsCheck.Fluent;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Bitmaps;

/// <summary>Each fast kernel does what its scalar twin does, and the twin what an array of truth values says.</summary>
public sealed class BitKernelsTests
{
    private static Gen<ulong> Words { get; } = Gen.OneOf(
        Gen.Constant(0UL),
        Gen.Constant(ulong.MaxValue),
        Gen.Choose(0, 63).Select(static bit => 1UL << bit),
        from high in Gen.Choose(int.MinValue, int.MaxValue)
        from low in Gen.Choose(int.MinValue, int.MaxValue)
        select unchecked(((ulong)(uint)high << 32) | (uint)low));

    private static Gen<ulong[]> Arrays { get; } = Words.ArrayOf();

    [Fact]
    public void OrAndAndNot() => Properties.ForAll(Arrays.Two(), 1000, static pair =>
    {
        int length = Math.Min(pair.Item1.Length, pair.Item2.Length);
        ulong[] first = pair.Item1[..length];
        ulong[] second = pair.Item2[..length];

        AssertSame(first, second, BitKernels.Or, ScalarBitKernels.Or, static (a, b) => a || b);
        AssertSame(first, second, BitKernels.And, ScalarBitKernels.And, static (a, b) => a && b);
        AssertSame(first, second, BitKernels.AndNot, ScalarBitKernels.AndNot, static (a, b) => a && !b);
    });

    [Fact]
    public void Count() => Properties.ForAll(Arrays, 1000, static words =>
    {
        Assert.Equal(Bits(words).LongCount(static bit => bit), BitKernels.Count(words));
        Assert.Equal(ScalarBitKernels.Count(words), BitKernels.Count(words));
    });

    [Fact]
    public void SpreadAndGather() => Properties.ForAll(Words, 1000, static word =>
    {
        for (int shift = 1; shift <= 5; shift++)
        {
            bool[] bits = Bits([word]);
            ulong spread = BitKernels.Spread(word, shift);
            Assert.Equal(ScalarBitKernels.Spread(word, shift), spread);
            Assert.Equal(Enumerable.Range(0, 64).Select(bit => bits[bit >> shift]), Bits([spread]));

            ulong gathered = BitKernels.Gather(word, shift);
            Assert.Equal(ScalarBitKernels.Gather(word, shift), gathered);
            Assert.Equal(
                Enumerable.Range(0, 64).Select(bit => bit < 64 >> shift && bits[(bit << shift)..((bit + 1) << shift)].Contains(true)),
                Bits([gathered]));
        }
    });

    [Fact]
    public void SpreadAndGatheredArrays() => Properties.ForAll(Arrays.Two(), 500, static pair =>
    {
        for (int shift = 1; shift <= 5; shift++)
        {
            ulong[] narrow = pair.Item1;
            ulong[] wide = [.. Enumerable.Range(0, narrow.Length << shift)
                .Select(i => pair.Item2.Length == 0 ? 0 : pair.Item2[i % pair.Item2.Length])];
            AssertSame(wide, narrow, (d, s) => BitKernels.OrSpread(d, s, shift), (d, s) => ScalarBitKernels.OrSpread(d, s, shift));
            AssertSame(narrow, wide, (d, s) => BitKernels.OrGathered(d, s, shift), (d, s) => ScalarBitKernels.OrGathered(d, s, shift));
        }
    });

    [Fact]
    public void FindAndFill() => Properties.ForAll(
        from words in Arrays
        from start in Gen.Choose(0, words.Length * 64)
        from end in Gen.Choose(start, words.Length * 64)
        from value in Gen.Elements(true, false)
        select (words, start, end, value),
        2000,
        static c =>
        {
            bool[] bits = Bits(c.words);
            int expected = Array.IndexOf(bits, c.value, c.start, c.end - c.start);
            Assert.Equal(expected < 0 ? c.end : expected, BitKernels.Find(c.words, c.start, c.end, c.value));

            Array.Fill(bits, c.value, c.start, c.end - c.start);
            BitKernels.Fill(c.words, c.start, c.end, c.value);
            Assert.Equal(bits, Bits(c.words));
        });

    private delegate void Kernel(Span<ulong> destination, ReadOnlySpan<ulong> source);

    private static void AssertSame(ulong[] first, ulong[] second, Kernel fast, Kernel scalar, Func<bool, bool, bool> bit) =>
        Assert.Equal(Bits(first).Zip(Bits(second), bit), Bits(AssertSame(first, second, fast, scalar)));

    private static ulong[] AssertSame(ulong[] first, ulong[] second, Kernel fast, Kernel scalar)
    {
        var byFast = (ulong[])first.Clone();
        var byScalar = (ulong[])first.Clone();
        fast(byFast, second);
        scalar(byScalar, second);
        Assert.Equal(byScalar, byFast);
        return byFast;
    }

    private static bool[] Bits(ulong[] words) =>
        [.. words.SelectMany(static word => Enumerable.Range(0, 64).Select(bit => (word >> bit & 1) != 0))];
}
