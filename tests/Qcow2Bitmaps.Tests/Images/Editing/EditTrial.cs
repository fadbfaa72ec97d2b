using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>An edit of an image in memory, and what the image is before and after it.</summary>
internal sealed class EditTrial
{
    private EditTrial(StartImage image, EditCase edit, byte[] start, ImageState before, ImageState after)
    {
        Image = image;
        Edit = edit;
        Start = start;
        Before = before;
        After = after;
    }

    public StartImage Image { get; }

    public EditCase Edit { get; }

    public byte[] Start { get; }

    public ImageState Before { get; }

    public ImageState After { get; }

    /// <summary>
    /// Edits on images: one in so many of all pairs, and of large images a quarter of that, spread so that each edit and each image comes
    /// up. All pairs where the environment has QCOW2BITMAPS_ALL_TRIALS=1.
    /// </summary>
    public static TheoryData<string, string> OneIn(int many, int start)
    {
        bool isAll = Environment.GetEnvironmentVariable("QCOW2BITMAPS_ALL_TRIALS") == "1";
        var trials = new TheoryData<string, string>();
        for (int i = 0; i < StartImage.All.Count; i++)
        {
            int step = isAll ? 1 : StartImage.All[i].IsLarge ? 4 * many : many;
            for (int e = 0; e < EditCase.All.Count; e++)
            {
                if ((i + (2 * e) + start) % step == 0)
                {
                    trials.Add(StartImage.All[i].Name, EditCase.All[e].Name);
                }
            }
        }

        return trials;
    }

    public static async Task<EditTrial> PrepareAsync(string imageName, string editName)
    {
        StartImage image = StartImage.All.Single(i => i.Name == imageName);
        EditCase edit = EditCase.All.Single(e => e.Name == editName);
        byte[] start = image.Build(edit.Population);
        ImageState before = await ImageState.ReadAsync(start);
        ImageState after = await ImageState.ReadAsync(await edit.RunAsync(start));
        var trial = new EditTrial(image, edit, start, before, after);
        Assert.True(after.IsSound && after.Check.Leaks <= before.Check.Leaks, $"{trial} leaves\n{after}");
        Assert.False(after.Bitmaps.SequenceEqual(before.Bitmaps), $"{trial} changes nothing");
        return trial;
    }

    /// <summary>Asserts that an image is as before the edit or as after it, and has leaks at worst.</summary>
    /// <returns>Whether it is as after the edit.</returns>
    public bool AssertBeforeOrAfter(ImageState state, string context)
    {
        Assert.True(state.IsSound, $"{this}: {context}: is not sound\n{state}");
        bool isAfter = state.IsSameAs(After);
        Assert.True(
            isAfter || state.IsSameAs(Before),
            $"{this}: {context}: is neither as before nor as after\n{state}before:\n{Before}after:\n{After}");
        return isAfter;
    }

    public override string ToString() => $"'{Edit}' on '{Image}'";
}
