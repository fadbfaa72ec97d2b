using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Tests.Operations;

/// <content>A checkpoint that QEMU had only in memory when it was killed.</content>
internal sealed partial class TruthWorld
{
    private const string Lost = "lost";

    /// <summary>
    /// Makes a checkpoint that no image gets, goes on for a while, with a crash at the end, and rebuilds it from one that was made before.
    /// </summary>
    public async Task StepLostAsync()
    {
        // Images may hold one that is no checkpoint any more, since a commit dropped it.
        await OurAsync($"delete {Lost}", () => DeleteAsync(Lost));
        _checkpoints.Remove(Lost);

        for (int i = Below(3); i > 0; i--)
        {
            await StepAsync();
        }

        byte[] born = await ContentAsync();
        Dictionary<string, byte[]> before = new(_checkpoints, StringComparer.Ordinal);
        Log($"{Lost} is made, in memory");
        for (int i = Below(3); i > 0; i--)
        {
            await StepAsync();
        }

        await WriteAsync(crash: true);
        // One that was made or cleared anew meanwhile is younger.
        string[] older = [.. before.Where(pair => _checkpoints.TryGetValue(pair.Key, out byte[]? now) && ReferenceEquals(now, pair.Value))
            .Select(static pair => pair.Key)];
        if (older.Length == 0)
        {
            return;
        }

        string since = _random.Pick(older);
        await OurAsync($"populate {since}", () => PopulateAsync(since));
        await OurAsync($"populate {Lost} since {since}", async () =>
        {
            await using ChainPopulate populate = await ChainPopulate.OpenSinceAsync(Active, Lost, since, cancellationToken: Token);
            ImageChain chain = populate.Chain;
            BitmapVerdict verdict = await chain.JudgeBitmapAsync(since, cancellationToken: Token);
            bool isOld = chain.Layers[0].RequireImage().Header.Version < 3;
            if (!verdict.IsValid || isOld)
            {
                Assert.Equal(
                    isOld ? Lost : since,
                    (await Assert.ThrowsAsync<BitmapStateException>(
                        () => populate.RunAsync(cancellationToken: Token))).BitmapName);
                return;
            }

            await populate.RunAsync(cancellationToken: Token);
            Assert.True((await chain.JudgeBitmapAsync(Lost, cancellationToken: Token)).IsValid);
            _checkpoints[Lost] = born;
        });
        await StepAsync();
    }
}
