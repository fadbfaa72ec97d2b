using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>
/// The close of a session, and a checkpoint, with each read, write, flush and change of a length failing once: bitmaps
/// are stored, or it says that they are not.
/// </summary>
public sealed class RecordingCloseTests
{
    private const int WrittenBytes = 512;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task EachFailureIsOneOrTheOther(bool isCheckpoint)
    {
        var wrong = new List<string>();
        int refused = 0;
        bool isFailing = true;
        for (int step = 1; isFailing; step++)
        {
            using var folder = TempFolder.InMemory();
            string path = folder.File("a.qcow2");
            await Qcow2Image.CreateAsync(path, new Qcow2CreateOptions { SizeBytes = 64 << 20 }, Token);
            await Support.Cli.OkAsync("bitmap", "--add", path, "b");
            await Support.Cli.OkAsync("bitmap", "--add", "--disable", path, "off");
            var told = new List<string>();
            (string? failed, Exception? error) = await StoreAsync(path, step, isCheckpoint, told.Add);

            bool isStored = await IsStoredAsync(path);
            bool isHint = failed?.StartsWith("zero", StringComparison.Ordinal) != false;
            bool isRight = error is null
                ? isStored && (isHint || told.Count > 0)
                : !isStored || error.Message.Contains("as before or as after", StringComparison.Ordinal);
            if (!isRight)
            {
                wrong.Add($"{step}, {failed}: stored {isStored}, {string.Join("; ", told)}: {error?.Message}");
            }

            refused += error is null ? 0 : 1;
            isFailing = failed is not null;
        }

        Assert.True(wrong.Count == 0, string.Join("\n", wrong));
        Assert.InRange(refused, 1, 1000);
    }

    private static async Task<(string? Failed, Exception? Error)> StoreAsync(
        string path, int failingStep, bool isCheckpoint, Action<string> tell)
    {
        using var trace = new FailingTrace(0);
        using IDisposable leftovers = Leftovers.TellTo(tell);
        RecordingSession session = await RecordingSession.OpenAsync(path, cancellationToken: Token);
        var bytes = new byte[WrittenBytes];
        bytes.AsSpan().Fill(7);
        await session.WriteAsync(0, bytes, Token);
        trace.FailAt(failingStep);
        try
        {
            if (isCheckpoint)
            {
                await session.StoreBitmapsAsync(Token);
            }
            else
            {
                await session.DisposeAsync();
            }

            return (trace.Failed, null);
        }
        catch (IOException e)
        {
            return (trace.Failed, e);
        }
        finally
        {
            if (isCheckpoint)
            {
                // As after a kill: what a close would store is not looked at.
                await session.Chain.DisposeAsync();
            }
        }
    }

    /// <summary>Whether the bitmap is valid; then it has the write.</summary>
    private static async Task<bool> IsStoredAsync(string path)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        Assert.True(image.Bitmaps.TryGet("b", out BitmapInfo? bitmap));
        if (bitmap.State == BitmapState.Inconsistent)
        {
            return false;
        }

        Assert.Equal(BitmapState.Recording, bitmap.State);
        Assert.Equal(1, (await image.Bitmaps.CountAsync("b", Token)).Bits);
        return true;
    }
}
