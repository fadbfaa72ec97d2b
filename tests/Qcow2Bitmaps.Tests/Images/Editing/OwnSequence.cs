using FsCheck;
using FsCheck.Fluent;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>
/// An image in memory and the edits that are made of it, each of some steps. Of most edits the steps that would be refused are left out.
/// </summary>
internal sealed record OwnSequence(
    int ClusterBits, int RefcountOrder, long SizeBytes, bool IsReadByQemu,
    IReadOnlyList<(bool MayBeRefused, IReadOnlyList<OwnStep> Steps)> Edits)
{
    private static Gen<(bool MayBeRefused, IReadOnlyList<OwnStep> Steps)> AnyEdit { get; } =
        from refused in Gen.Choose(0, 4)
        from count in Gen.Choose(1, 9)
        from steps in OwnStep.Generator.ListOf(count)
        select (refused == 0, (IReadOnlyList<OwnStep>)[.. steps]);

    public static Gen<OwnSequence> Generator { get; } =
        from clusterBits in Gen.Elements(9, 9, 10, 12, 16)
        from refcountOrder in Gen.Choose(0, 6)
        from sectors in Gen.OneOf(Gen.Choose(1, 40), Gen.Choose(1, 17_000))
        from readByQemu in Gen.Choose(0, 9)
        from count in Gen.Choose(1, 8)
        from edits in AnyEdit.ListOf(count)
        select new OwnSequence(clusterBits, refcountOrder, sectors * 512L, readByQemu == 0, [.. edits]);

    public override string ToString() =>
        $"clusters of 2^{ClusterBits}, refcounts of 2^{RefcountOrder} bits, {SizeBytes} bytes:\n"
        + string.Join(
            '\n', Edits.Select(static edit => $"{(edit.MayBeRefused ? "refused or not: " : "")}{string.Join('\n', edit.Steps)}\n"));
}
