using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Adoption;

/// <summary>
/// An adoption, stopped at every write and every change of a name: the images are as they were, nothing is built on what is not adopted
/// whole, and the same call again ends right.
/// </summary>
public sealed class AdoptCrashTests
{
    private static CancellationToken Token => PushedSeries.Token;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task WhereverAnAdoptionStopsNothingIsBuiltOnAPartOfIt(bool isSecond)
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder, clears: isSecond);
        string checkpoint = isSecond ? "c0" : "c2";
        if (isSecond)
        {
            // The bitmap that the adopted ones have, QEMU cleared when it took the next.
            await series.AdoptAsync(checkpoint);
            await series.WriteAsync("write -P 9 700k 64k");
            await series.PushAsync("inc3", checkpoint, null, clears: true);
        }

        await series.WriteAsync("write -P 10 64k 64k", "write -z 1M 64k");
        byte[] disk = await File.ReadAllBytesAsync(series.Disk, Token);
        byte[] content = await series.ReadAsync(series.Disk);
        string images = ImagesOf(series);
        RecordedFolder recorded;
        using (recorded = new RecordedFolder(series.Folder))
        {
            await AdoptAsync(series, checkpoint);
        }

        int refused = 0;
        int taken = 0;
        foreach (FolderState state in recorded.States(seed: 7, samples: 2 * Properties.Factor))
        {
            try
            {
                recorded.GoTo(state);
                Assert.Equal(images, ImagesOf(series));
                await AssertWholeAsync(series);
                // What is taken without a further call is right, or refused.
                try
                {
                    await TakeAsync(series, checkpoint);
                    await series.AssertRestoresAsync("next", content);
                    taken++;
                }
                catch (BackupException)
                {
                    refused++;
                }

                recorded.GoTo(state);
                await AdoptAsync(series, checkpoint);
                await AssertWholeAsync(series);
                await TakeAsync(series, checkpoint);
                await series.AssertRestoresAsync("next", content);
                Assert.Equal(disk, await File.ReadAllBytesAsync(series.Disk, Token));
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"{state}: {e.Message}", e);
            }
        }

        TestContext.Current.TestOutputHelper?.WriteLine($"{recorded.Count} steps, {refused} refused, {taken} taken");
        Assert.True(refused > 3 && taken > 0, $"{refused} refused, {taken} taken");
    }

    private static Task<AdoptionResult> AdoptAsync(PushedSeries series, string checkpoint) =>
        DiskBackup.AdoptAsync(
            series.Images, series.Disk, new AdoptionOptions { Checkpoint = checkpoint, Workers = 1 }, cancellationToken: Token);

    private static Task<IReadOnlyList<StoredBackup>> TakeAsync(PushedSeries series, string checkpoint) => DiskBackup.TakeAsync(
        [new BackupDisk(series.Disk, series.Image("next"))],
        new BackupOptions { Since = checkpoint, Mode = BitmapSyncMode.Never, Workers = 1 }, cancellationToken: Token);

    private static string ImagesOf(PushedSeries series) =>
        string.Join('\n', series.Names().Split('\n').Where(static name => !name.Contains(".backup.json", StringComparison.Ordinal)));

    /// <summary>Each manifest that is there is of a whole backup.</summary>
    private static async Task AssertWholeAsync(PushedSeries series)
    {
        foreach (StoredBackup listed in await DiskBackup.ListAsync(series.Folder, Token))
        {
            Assert.Null(listed.Fault);
            int index = series.Images.ToList().IndexOf(series.Image(listed.Manifest!.ImageFile));
            await series.AssertRestoresAsync(listed.Manifest.ImageFile, series.Contents[index]);
        }
    }
}
