namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Stops a change of an image at each moment, and asserts that the image is then as before or as after.</summary>
internal static class StopAnywhere
{
    /// <summary>Runs a change and looks at all that a stop could leave.</summary>
    /// <param name="start">The image.</param>
    /// <param name="change">The change.</param>
    /// <param name="mayLeak">Whether a check may find leaks between.</param>
    /// <returns>The image after the change.</returns>
    public static async Task<byte[]> AssertBeforeOrAfterAsync(byte[] start, Func<Qcow2Image, Task> change, bool mayLeak = false)
    {
        CancellationToken token = TestContext.Current.CancellationToken;
        await using var storage = new CrashStorage(start);
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: token))
        {
            await change(image);
        }

        ImageViews before = await ImageViews.ReadAsync(start);
        ImageViews after = await ImageViews.ReadAsync(storage.ToArray());
        Assert.True(after.IsClean, $"after: {after}");
        int asBefore = 0;
        int asAfter = 0;
        foreach (CrashState crash in storage.States())
        {
            ImageViews state = await ReadAsync(crash);
            Assert.True(
                state.Check is { Corruptions: 0, CheckErrors: 0 } && (mayLeak || state.Check.Leaks <= before.Check.Leaks),
                $"{crash}: {state}");
            asBefore += state.Text == before.Text ? 1 : 0;
            asAfter += state.Text == after.Text ? 1 : 0;
            Assert.True(state.Text == before.Text || state.Text == after.Text, $"{crash}:\n{state}\nbefore:\n{before}\nafter:\n{after}");
        }

        Assert.True(asBefore > 0 && asAfter > 0, $"{asBefore} states are as before, {asAfter} as after");
        return storage.ToArray();
    }

    private static async Task<ImageViews> ReadAsync(CrashState crash)
    {
        try
        {
            return await ImageViews.ReadAsync(crash.Content);
        }
        catch (Qcow2Exception e)
        {
            Assert.Fail($"{crash}: {e.Message}");
            throw;
        }
    }
}
