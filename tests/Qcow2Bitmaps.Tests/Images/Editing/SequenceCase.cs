using FsCheck;
using FsCheck.Fluent;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>An image and what is done to it.</summary>
internal sealed record SequenceCase(int ClusterBits, int RefcountBits, long SizeBytes, IReadOnlyList<SequenceStep> Steps)
{
    public static Gen<SequenceCase> Generator { get; } =
        from clusterBits in Gen.Elements(9, 10, 12, 16, 21)
        from refcountOrder in Gen.Choose(0, 6)
        from sectors in Gen.OneOf(Gen.Choose(1, 40), Gen.Choose(1, 20_000))
        from count in Gen.Choose(5, 16)
        from first in SequenceStep.Generator.Select(static step => step with { Action = SequenceAction.Add, Name = "a" })
        from second in SequenceStep.Generator.Select(static step => step with { Action = SequenceAction.Add, Name = "b" })
        from steps in SequenceStep.Generator.ListOf(count)
        from crash in Gen.Frequency((5, Gen.Constant(-1)), (1, Gen.Choose(0, 15)))
        select new SequenceCase(clusterBits, 1 << refcountOrder, sectors * 512L, WithCrash([first, second, .. steps], crash));

    public override string ToString() =>
        $"clusters of 2^{ClusterBits}, refcounts of {RefcountBits} bits, {SizeBytes} bytes:\n{string.Join('\n', Steps)}";

    private static List<SequenceStep> WithCrash(List<SequenceStep> steps, int place)
    {
        if (place >= 0)
        {
            steps.Insert(Math.Min(place, steps.Count), new SequenceStep(SequenceAction.Crash, "", "", 0, 0, 0));
        }

        return steps;
    }
}
