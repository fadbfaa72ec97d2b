using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>Every call that waits for others gives up when it is cancelled, has done nothing, and leaves others their turn.</summary>
public sealed class CancelledWaitTests
{
    private const int DiskBytes = 1 << 20;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task CallsOfASessionGiveUpWaitingForWhoIsAlone()
    {
        MemoryDisk disk = await MemoryDisk.CreateAsync(DiskBytes);
        await using RecordingSession session = await disk.OpenAsync();
        SharedLock.Release held = await session.EnterAloneAsync(Token);
        using var cancel = new CancellationTokenSource();
        Task[] waiting =
        [
            session.WriteAsync(0, new byte[] { 1 }, cancel.Token).AsTask(),
            session.WriteZerosAsync(0, 512, cancellationToken: cancel.Token).AsTask(),
            session.DiscardAsync(0, 512, cancel.Token).AsTask(),
            session.StoreBitmapsAsync(cancel.Token),
            session.AddAsync("b", cancellationToken: cancel.Token).AsTask(),
        ];
        Assert.DoesNotContain(waiting, static task => task.IsCompleted);
        await AssertGivenUpAsync(cancel, waiting);
        held.Dispose();
        Assert.Null(session.Find("b"));
        await session.WriteAsync(0, new byte[] { 2 }, Token);
        await session.StoreBitmapsAsync(Token);
    }

    [Fact]
    public async Task CallsOfAWriterGiveUpWaitingForAnEdit()
    {
        var storage = new MemoryStorage();
        await Qcow2Image.CreateAsync(storage, new Qcow2CreateOptions { SizeBytes = DiskBytes }, Token);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        await using Disk writer = await image.OpenWriterAsync(Token);
        ImageGate.Release editing = await image.Handle.EnterAsync(Token);
        using var cancel = new CancellationTokenSource();
        Task[] waiting =
        [
            writer.ReadAsync(0, new byte[1], cancel.Token).AsTask(),
            writer.WriteAsync(0, new byte[] { 1 }, cancel.Token).AsTask(),
            writer.WriteZerosAsync(0, 512, cancellationToken: cancel.Token).AsTask(),
            writer.DiscardAsync(0, 512, cancel.Token).AsTask(),
            writer.WriteCompressedAsync(0, new byte[65536], cancel.Token).AsTask(),
            writer.FlushAsync(cancel.Token).AsTask(),
            image.Bitmaps.EditAsync(static edit => edit.Add("b"), cancel.Token),
        ];
        Assert.DoesNotContain(waiting, static task => task.IsCompleted);
        await AssertGivenUpAsync(cancel, waiting);
        editing.Dispose();
        await writer.WriteAsync(0, new byte[] { 2 }, Token);
        await writer.FlushAsync(Token);
        Assert.Empty(image.Bitmaps);
    }

    private static async Task AssertGivenUpAsync(CancellationTokenSource cancel, Task[] waiting)
    {
        await cancel.CancelAsync();
        foreach (Task task in waiting)
        {
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => task);
        }
    }
}
