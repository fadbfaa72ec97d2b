using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>
/// Edits one after another, which use clusters that those before have freed: a crash leaves one of the states between
/// them, and never one before what was flushed.
/// </summary>
public sealed class SequenceCrashTests
{
    private static readonly Action<BitmapEdit>[] s_edits =
    [
        static edit => edit.Add("b", 512).Set("b", 0, 1 << 20).Set("b", 3 << 19, 1 << 18),
        static edit => edit.Merge("a", into: "b").Clear("b", 0, 5000),
        static edit => edit.Remove("a"),
        static edit => edit.Add("a", 4096).Set("a", 1 << 16, 1 << 17).Clear("a", 70_000, 9000),
        static edit => edit.Clear("b").Rename("b", new string('b', 600)),
        static edit => edit.RemoveAll(),
        static edit => edit.Add("a").Add("c").Set("c", 0, 4096),
    ];

    public static TheoryData<string> Images => [.. StartImage.All.Where(static s => !s.IsLarge).Select(static s => s.Name)];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Images))]
    public async Task EachStateIsOneOfThoseBetween(string name)
    {
        byte[] start = StartImage.All.Single(s => s.Name == name).Build(Population.One);
        var storage = new CrashStorage(start);
        var between = new List<ImageState> { await ImageState.ReadAsync(start) };
        await using Qcow2Image image = await EditCase.OpenAsync(storage);
        foreach (Action<BitmapEdit> edit in s_edits)
        {
            await image.Bitmaps.EditAsync(edit, Token);
            between.Add(await ImageState.ReadAsync(storage.ToArray()));
        }

        int reached = 0;
        foreach (CrashState crash in storage.States(samples: 40))
        {
            ImageState state = await ImageState.ReadAsync(crash.Content);
            // An edit is durable when it returns: no state is older than the last but one that was seen.
            int now = between.FindIndex(Math.Max(0, reached - 1), s => s.IsSameAs(state));
            Assert.True(state.IsSound && now >= 0, $"'{name}': {crash}: is not one of the states between\n{state}");
            reached = Math.Max(reached, now);
        }

        Assert.Equal(s_edits.Length, reached);
        Assert.All(between, static s => Assert.Equal(0, s.Check.Leaks));
    }
}
