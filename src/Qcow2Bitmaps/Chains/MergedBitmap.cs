using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Chains;

/// <summary>A valid bitmap's bits over all images of a chain that hold it.</summary>
internal static class MergedBitmap
{
    /// <summary>Opens them.</summary>
    /// <param name="layers">The chain's images, top first.</param>
    /// <param name="name">The bitmap's name.</param>
    /// <param name="logs">Gets a log for each image of the bitmap, from the top down.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="BitmapStateException">The bitmap is not valid over the chain; the message is its
    /// verdict, and what helps.</exception>
    /// <exception cref="Qcow2FormatException">A bitmap's table is not allowed.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async ValueTask<MergedBitmapReader> OpenAsync(
        IReadOnlyList<ChainLayer> layers, string name, List<FaultLog> logs, CancellationToken cancellationToken)
    {
        BitmapVerdict verdict = await TableJudge.JudgeAsync(layers, name, VerdictProfile.Libvirt, cancellationToken).ConfigureAwait(false);
        if (!verdict.IsValid)
        {
            throw new BitmapStateException(verdict);
        }

        var sources = new List<IBitmapPages>();
        foreach (int index in verdict.ImageIndexes)
        {
            Qcow2Image image = layers[index].RequireImage();
            logs.Add(image.Handle.NewLog());
            sources.Add(await image.Bitmaps.OpenPagesAsync(name, logs[^1], cancellationToken).ConfigureAwait(false));
        }

        sources.Add(HiddenByShorterLayers(layers, verdict.ImageIndexes[^1], sources[0].GranularityBits));
        return new MergedBitmapReader(sources, layers[0].VirtualSizeBytes, sources[0].GranularityBits);
    }

    /// <summary>
    /// The parts that a layer hides of a longer one below it: beyond its end the disk reads as zeros, though nothing wrote them. Relative
    /// to the bitmap's creation, in the lowest image that holds it, that is a change like any other.
    /// </summary>
    private static DirtyBitmap HiddenByShorterLayers(IReadOnlyList<ChainLayer> layers, int lowestHolder, int granularityBits)
    {
        long size = layers[0].VirtualSizeBytes;
        var hidden = new DirtyBitmap(size, 1L << granularityBits);
        long longestBelow = layers[lowestHolder].VirtualSizeBytes;
        for (int i = lowestHolder - 1; i > 0; i--)
        {
            long end = Math.Min(longestBelow, size);
            long start = layers[i].VirtualSizeBytes;
            if (start < end)
            {
                hidden.Set(start, end - start);
            }

            longestBelow = Math.Max(longestBelow, start);
        }

        return hidden;
    }
}
