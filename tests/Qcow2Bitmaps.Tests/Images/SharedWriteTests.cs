using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images;

/// <summary>Writes of bytes that a file has too: shared or written, the disk reads the same.</summary>
public sealed class SharedWriteTests
{
    private const int DiskBytes = (2 << 20) + 512;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(512, false)]
    [InlineData(4096, false)]
    [InlineData(65536, false)]
    [InlineData(65536, true)]
    public async Task ReadAsTheOthersDo(int clusterBytes, bool extended)
    {
        var random = new SplitMix((ulong)clusterBytes);
        var content = new byte[4 << 20];
        for (int i = 0; i < content.Length; i++)
        {
            content[i] = (byte)random.Below(256);
        }

        var source = MemoryStorage.ReadOnly(content);
        var expected = new byte[DiskBytes];
        var memory = new MemoryStorage([], "shared");
        await Qcow2Image.CreateAsync(
            memory, new Qcow2CreateOptions { SizeBytes = DiskBytes, ClusterSizeBytes = clusterBytes, ExtendedL2 = extended }, Token);
        var storage = new CloningStorage(memory);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        await using (Disk writer = await image.OpenWriterAsync(Token))
        {
            for (int i = 0; i < 100; i++)
            {
                int unit = i % 3 == 0 ? 1 : CloningStorage.BlockBytes;
                int offset = random.Below(DiskBytes / unit) * unit;
                int length = Math.Min(DiskBytes - offset, unit * (1 + random.Below(300_000 / unit)));
                int from = random.Below((content.Length - length) / unit) * unit;
                await writer.WriteAsync(offset, content.AsMemory(from, length), new BytesOrigin(source, from), Token);
                content.AsSpan(from, length).CopyTo(expected.AsSpan(offset));
            }

            var actual = new byte[DiskBytes];
            await writer.ReadAsync(0, actual, Token);
            Assert.True(actual.AsSpan().SequenceEqual(expected));
        }

        Assert.True(
            clusterBytes < CloningStorage.BlockBytes || storage.ClonedBytes > DiskBytes, $"{storage.ClonedBytes} bytes were shared");
        Assert.Empty((await image.CheckAsync(Token)).Findings);
    }
}
