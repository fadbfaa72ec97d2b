using System.Globalization;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Benchmarks.SideBySide;

/// <summary>Makes a chain of many images with few data, for measuring what an image more costs.</summary>
internal static class DeepChain
{
    private const int WrittenBytes = 256 << 10;

    /// <summary>Takes snapshots of an image until the chain has so many images, and writes 256 KiB to each at a place of its own.</summary>
    /// <param name="bottom">The only image so far. Those above it lie beside it and are named
    /// <c>1.qcow2</c>, <c>2.qcow2</c> and so on.</param>
    /// <param name="images">How many images the chain is to have.</param>
    public static async Task GrowAsync(string bottom, int images)
    {
        string top = bottom;
        byte[] data = new byte[WrittenBytes];
        for (int i = 1; i < images; i++)
        {
            string above = Path.Combine(Path.GetDirectoryName(bottom)!, string.Create(CultureInfo.InvariantCulture, $"{i}.qcow2"));
            await using (ChainSnapshot snapshot = await ChainSnapshot.OpenAsync(top, above))
            {
                await snapshot.RunAsync();
            }

            data.AsSpan().Fill((byte)i);
            await using ImageChain written = await ImageChain.OpenAsync(above, new ChainOpenOptions { WritableLayers = [0] });
            await using Disk writer = await written.OpenWriterAsync();
            await writer.WriteAsync((long)i * WrittenBytes, data);
            top = above;
        }
    }
}
