using FsCheck;
using FsCheck.Fluent;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Bitmaps;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>A step of any kind.</summary>
/// <param name="Action">What it does.</param>
/// <param name="Name">The bitmap.</param>
/// <param name="Other">The bitmap to merge, or the new name.</param>
/// <param name="GranularityBits">For one that is added; 0 for the default.</param>
/// <param name="Range">What to set or clear.</param>
/// <param name="Elsewhere">The bits to merge from memory or from another image.</param>
internal sealed record OwnStep(OwnAction Action, string Name, string Other, int GranularityBits, BitmapStep Range, BitmapCase Elsewhere)
{
    private static Gen<string> AnyName { get; } = Gen.Elements("a", "b", "c", "ä\u0001 long name that takes some more of the directory");

    public static Gen<OwnStep> Generator { get; } =
        from action in Gen.Frequency(
            (5, Gen.Constant(OwnAction.Add)), (1, Gen.Elements(OwnAction.Remove, OwnAction.Clear, OwnAction.Enable, OwnAction.Disable)),
            (2, Gen.Constant(OwnAction.ClearRange)),
            (6, Gen.Constant(OwnAction.Set)), (1, Gen.Constant(OwnAction.Rename)), (4, Gen.Constant(OwnAction.Merge)),
            (1, Gen.Constant(OwnAction.MergeFromMemory)),
            (1, Gen.Constant(OwnAction.MergeFromImage)))
        from isRemoveAll in Gen.Choose(0, 60)
        from name in AnyName
        from other in AnyName
        from granularityBits in Gen.Elements(0, 9, 9, 10, 12, 14, 16, 17, 22, 31)
        from offset in Gen.Choose(0, 1000)
        from length in Gen.Choose(0, 999)
        from elsewhere in BitmapCase.Generator
        select new OwnStep(
            isRemoveAll == 0 ? OwnAction.RemoveAll : action, name, other, granularityBits, new BitmapStep(true, offset, length), elsewhere);

    /// <summary>Whether the bitmaps that the step names are there, or not, as it needs.</summary>
    public bool IsPossible(EditModel model) => Action switch
    {
        OwnAction.RemoveAll => true,
        OwnAction.Add => !model.Has(Name),
        OwnAction.Rename => model.Has(Name) && (Name == Other || !model.Has(Other)),
        OwnAction.Merge => model.Has(Name) && model.Has(Other),
        _ => model.Has(Name),
    };

    /// <summary>Takes the step; images that it opens are left open in a list.</summary>
    public async Task TakeAsync(EditModel model, List<Qcow2Image> opened)
    {
        (long offset, long length) = Range.RangeOn(model.SizeBytes);
        switch (Action)
        {
            case OwnAction.Add:
                model.Add(Name, GranularityBits == 0 ? null : 1L << GranularityBits, isRecording: (offset & 1) == 0);
                break;
            case OwnAction.Remove:
                model.Remove(Name);
                break;
            case OwnAction.RemoveAll:
                model.RemoveAll();
                break;
            case OwnAction.Clear:
                model.Clear(Name);
                break;
            case OwnAction.ClearRange:
                model.Clear(Name, offset, length);
                break;
            case OwnAction.Set:
                model.Set(Name, offset, length);
                break;
            case OwnAction.Enable:
                model.Enable(Name);
                break;
            case OwnAction.Disable:
                model.Disable(Name);
                break;
            case OwnAction.Rename:
                model.Rename(Name, Other);
                break;
            case OwnAction.Merge:
                model.Merge(Other, Name);
                break;
            case OwnAction.MergeFromMemory:
                model.Merge(BitsElsewhere(Elsewhere.SizeBytes), Name);
                break;
            default:
                ModelBits bits = BitsElsewhere((Elsewhere.SizeBytes / 512 * 512) + 512);
                byte[] image = new TestImage(Elsewhere.PageShift - 3, bits.InMemory.SizeBytes).WithBitmap(
                    "source", Elsewhere.GranularityBits, bits: bits.ToBytes()).Build();
                opened.Add(
                    await Qcow2Image.OpenAsync(MemoryStorage.ReadOnly(image), cancellationToken: TestContext.Current.CancellationToken));
                model.Merge(opened[^1], "source", bits, Name);
                break;
        }
    }

    private ModelBits BitsElsewhere(long sizeBytes)
    {
        var bits = new ModelBits(sizeBytes, 1L << Elsewhere.GranularityBits);
        foreach (BitmapStep step in Elsewhere.Steps)
        {
            (long offset, long length) = step.RangeOn(sizeBytes);
            if (step.IsSet)
            {
                bits.Set(offset, length);
            }
            else
            {
                bits.Clear(offset, length);
            }
        }

        return bits;
    }
}
