using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>The images that edits start from must themselves be right: QEMU says so.</summary>
public sealed class StartImageTests
{
    public static TheoryData<string> Images => [.. StartImage.All.Select(static s => s.Name)];

    [Theory]
    [MemberData(nameof(Images))]
    public async Task QemuAgrees(string name)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        StartImage start = StartImage.All.Single(s => s.Name == name);
        foreach (Population population in Enum.GetValues<Population>())
        {
            byte[] bytes = start.Build(population);
            ImageState state = await ImageState.ReadAsync(bytes);

            Assert.True(state.IsSound, state.ToString());
            Assert.Equal(population == Population.Ignored, state.Check.Leaks > 0);
            Assert.Equal(population switch { Population.One => 1, Population.Several => 6, _ => 0 }, state.Bitmaps.Length);
            await QemuOpinion.AssertAgreesAsync(folder.Write("a.qcow2", bytes), state, $"{name}, {population}");
        }
    }
}
