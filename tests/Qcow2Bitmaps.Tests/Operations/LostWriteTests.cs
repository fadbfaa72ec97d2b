using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>A target that could once not be made durable is never complete, though later flushes succeed.</summary>
public sealed class LostWriteTests
{
    private const int DiskBytes = 4 << 20;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ATargetIsNotCompleteAfterAFailedFlush()
    {
        var counted = new FailingStorage(new MemoryStorage());
        await using (CopyTarget whole = await CreateAsync(counted))
        {
            int before = counted.Flushes;
            await WriteAsync(whole);
            await whole.CompleteAsync([], Token);
            counted = new FailingStorage(new MemoryStorage()) { FailingFlush = before + 1 };
        }

        await using CopyTarget target = await CreateAsync(counted);
        await Assert.ThrowsAsync<IOException>(async () => await WriteAsync(target));
        await Assert.ThrowsAsync<IOException>(async () => await target.CompleteAsync([], Token));
    }

    private static async Task<CopyTarget> CreateAsync(ImageStorage storage) => await CopyTarget.CreateInAsync(
        storage, new Qcow2CreateOptions { SizeBytes = DiskBytes }, new ConversionOptions { Flush = true, AppearsAtOnce = true }, Token);

    private static async Task WriteAsync(CopyTarget target)
    {
        await target.Disk.WriteAsync(0, new byte[65536], Token);
        await target.Disk.FlushAsync(Token);
    }
}
