using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>An empty image in memory.</summary>
internal sealed class MemoryDisk
{
    private MemoryDisk(MemoryStorage storage) => Storage = storage;

    public MemoryStorage Storage { get; }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static async Task<MemoryDisk> CreateAsync(long sizeBytes, params string[] bitmaps)
    {
        var storage = new MemoryStorage();
        await Qcow2Image.CreateAsync(storage, new Qcow2CreateOptions { SizeBytes = sizeBytes }, Token);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
        await image.Bitmaps.EditAsync(
            edit =>
            {
                foreach (string name in bitmaps)
                {
                    edit.Add(name);
                }
            },
            Token);
        return new MemoryDisk(storage);
    }

    public async Task<RecordingSession> OpenAsync(bool isReadOnly = false)
    {
        ImageStorage storage = isReadOnly ? MemoryStorage.ReadOnly(Storage.ToArray()) : Storage;
        return await RecordingSession.OpenAsync(
            await ImageChain.OpenAsync(storage, new ChainOpenOptions { WritableLayers = isReadOnly ? [] : [0] }, Token),
            cancellationToken: Token);
    }

    /// <summary>What somebody finds who opens a copy of the image now.</summary>
    public async Task<IReadOnlyList<BitmapInfo>> BitmapsAsync()
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(MemoryStorage.ReadOnly(Storage.ToArray()), cancellationToken: Token);
        return [.. image.Bitmaps];
    }
}
