using System.Globalization;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>
/// A kind of edit that fits every image that can be edited: it works on bitmaps that are there, or makes what it needs in the same edit.
/// </summary>
/// <param name="Name">What is done.</param>
/// <param name="Steps">Takes the steps. The image is another one, with a bitmap <c>elsewhere</c> whose bits stand beside it.</param>
internal sealed record EditKind(string Name, Action<EditModel, Qcow2Image, ModelBits> Steps)
{
    /// <summary>The bitmap of the other image.</summary>
    public const string Elsewhere = "elsewhere";

    private const long LargestGranularity = 1L << 31;

    public static readonly IReadOnlyList<EditKind> All =
    [
        new("add", static (model, _, _) =>
        {
            model.Add("new");
            model.Add("new coarse", 1 << 20, isRecording: false);
            model.Set("new", 0, 1);
        }),
        new("add 100", static (model, _, _) =>
        {
            for (int i = 0; i < 100; i++)
            {
                model.Add(string.Create(CultureInfo.InvariantCulture, $"{new string('n', i * 10)}-{i}"), 65_536L << (i % 4), i % 3 != 0);
            }

            model.Set("-0", model.SizeBytes / 2, 1);
        }),
        new("remove", static (model, _, _) => model.Remove(First(model))),
        new("remove the last", static (model, _, _) =>
        {
            _ = First(model);
            foreach (ModelBitmap bitmap in model.Bitmaps.ToList())
            {
                model.Remove(bitmap.Name);
            }
        }),
        new("remove all", static (model, _, _) => model.RemoveAll()),
        new("remove one and add it again", static (model, _, _) =>
        {
            ModelBitmap first = model[First(model)];
            model.Remove(first.Name);
            model.Add(first.Name, Coarser(first));
            model.Set(first.Name, model.SizeBytes - 1, 1);
        }),
        new("clear", static (model, _, _) => model.Clear(Filled(model))),
        new("enable", static (model, _, _) => EachConsistent(model, model.Enable)),
        new("disable", static (model, _, _) => EachConsistent(model, model.Disable)),
        new("rename", static (model, _, _) => model.Rename(First(model), "renamed")),
        new("merge of the same granularity", static (model, _, _) =>
        {
            string source = Filled(model);
            model.Add("target", model[source].GranularityBytes);
            model.Merge(source, "target");
            model.Clear(source);
            model.Merge("target", "target");
        }),
        new("merge of a finer one", static (model, _, _) =>
        {
            string source = Filled(model);
            model.Add("target", Coarser(model[source]));
            model.Merge(source, "target");
        }),
        new("merge of a coarser one", static (model, _, _) =>
        {
            string source = Filled(model);
            model.Add("target", Math.Max(512, model[source].GranularityBytes / 8));
            model.Merge(source, "target");
        }),
        new("merge from another image", static (model, other, bits) => model.Merge(other, Elsewhere, bits, First(model))),
        new("merge from memory", static (model, _, bits) => model.Merge(bits, First(model))),
        new("set", static (model, _, _) =>
        {
            string first = First(model);
            model.Set(first, model.SizeBytes / 3, model.SizeBytes / 7);
            model.Set(first, model.SizeBytes - 1, 1);
            model.Set(first, 0, 700);
        }),
        new("set all", static (model, _, _) => model.Set(First(model), 0, model.SizeBytes)),
        new("clear a range", static (model, _, _) =>
        {
            string first = First(model);
            model.Set(first, 0, model.SizeBytes);
            model.Clear(first, model.SizeBytes / 5, model.SizeBytes / 3);
            model.Clear(first, model.SizeBytes - (model.SizeBytes / 9), model.SizeBytes / 9);
        }),
    ];

    public override string ToString() => Name;

    /// <summary>The first bitmap that can be worked on; one is added where there is none.</summary>
    private static string First(EditModel model)
    {
        if (model.Bitmaps.FirstOrDefault(static bitmap => !bitmap.IsInconsistent) is { } first)
        {
            return first.Name;
        }

        model.Add("first");
        return "first";
    }

    /// <summary>As <see cref="First"/>, with some more bits.</summary>
    private static string Filled(EditModel model)
    {
        string first = First(model);
        model.Set(first, model.SizeBytes / 4, model.SizeBytes / 8);
        model.Set(first, model.SizeBytes - 1, 1);
        return first;
    }

    private static long Coarser(ModelBitmap bitmap) => Math.Min(LargestGranularity, bitmap.GranularityBytes * 8);

    private static void EachConsistent(EditModel model, Action<string> step)
    {
        _ = First(model);
        foreach (ModelBitmap bitmap in model.Bitmaps.Where(static bitmap => !bitmap.IsInconsistent).ToList())
        {
            step(bitmap.Name);
        }
    }
}
