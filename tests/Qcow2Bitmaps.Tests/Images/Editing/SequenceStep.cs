using FsCheck;
using FsCheck.Fluent;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>A step that qemu-img and the library can both take. Offset and length are thousandths of the disk.</summary>
internal sealed record SequenceStep(SequenceAction Action, string Name, string Source, int GranularityBits, int Offset, int Length)
{
    private static Gen<string> AnyName { get; } = Gen.Elements("a", "b", "c");

    public static Gen<SequenceStep> Generator { get; } =
        from action in Gen.Frequency(
            (5, Gen.Constant(SequenceAction.Add)), (1, Gen.Constant(SequenceAction.Remove)), (1, Gen.Constant(SequenceAction.Clear)),
            (1, Gen.Constant(SequenceAction.Enable)),
            (2, Gen.Constant(SequenceAction.Disable)), (4, Gen.Constant(SequenceAction.Merge)), (3, Gen.Constant(SequenceAction.Write)))
        from name in AnyName
        from source in AnyName
        from granularityBits in Gen.Elements(0, 0, 9, 10, 13, 16, 20, 31)
        from offset in Gen.Choose(0, 999)
        from length in Gen.OneOf(Gen.Choose(1, 30), Gen.Choose(1, 1000))
        select new SequenceStep(action, name, source, granularityBits, offset, length);

    /// <summary>The options of <c>qemu-img bitmap</c>.</summary>
    public string[] Options => Action switch
    {
        SequenceAction.Add => ["--add", "-g", GranularityBits == 0 ? "0" : $"{1L << GranularityBits}"],
        SequenceAction.Merge => ["--merge", Source],
        _ => [$"--{Action.ToString().ToLowerInvariant()}"],
    };

    /// <summary>Takes the step in an edit of ours.</summary>
    public void AddTo(BitmapEdit edit) => _ = Action switch
    {
        SequenceAction.Add => edit.Add(Name, GranularityBits == 0 ? null : 1L << GranularityBits),
        SequenceAction.Remove => edit.Remove(Name),
        SequenceAction.Clear => edit.Clear(Name),
        SequenceAction.Enable => edit.Enable(Name),
        SequenceAction.Disable => edit.Disable(Name),
        _ => edit.Merge(Source, Name),
    };

    /// <summary>The range to write on a disk, in whole sectors.</summary>
    public (long Offset, long Length) RangeOn(long sizeBytes)
    {
        long sectors = sizeBytes / 512;
        long offset = sectors * Offset / 1000;
        return (offset * 512, Math.Clamp(sectors * Length / 1000, 1, sectors - offset) * 512);
    }
}
