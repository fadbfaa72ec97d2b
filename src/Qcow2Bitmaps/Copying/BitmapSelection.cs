namespace Qcow2Bitmaps.Copying;

/// <summary>Selects the bitmaps of a chain that are copied along with its disk, and reads them.</summary>
internal static class BitmapSelection
{
    /// <summary>Judges the bitmaps of the top image, and reads those to copy.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="skipsInvalid">Whether bitmaps that are not valid are skipped; otherwise the first one causes an error.</param>
    /// <param name="skipped">Receives the verdicts on skipped bitmaps.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="BitmapStateException">A bitmap is not valid.</exception>
    /// <exception cref="Qcow2UnsupportedException">The top image is raw.</exception>
    public static async ValueTask<IReadOnlyList<CarriedBitmap>> ReadAsync(
        ImageChain chain, bool skipsInvalid, List<BitmapVerdict> skipped, CancellationToken cancellationToken)
    {
        Qcow2Image top = (chain.Layers[0] as Qcow2Layer)?.Image
            ?? throw new Qcow2UnsupportedException(UnsupportedReason.Format, "Source lacks bitmap support");
        var carried = new List<CarriedBitmap>();
        foreach (BitmapInfo bitmap in top.Bitmaps)
        {
            BitmapVerdict verdict = await chain.JudgeBitmapAsync(bitmap.Name, cancellationToken: cancellationToken).ConfigureAwait(false);
            if (verdict.IsValid)
            {
                var bits = new DirtyBitmap(top.VirtualSizeBytes, bitmap.GranularityBytes);
                await foreach (DirtyExtent extent
                    in chain.ReadExtentsAsync(bitmap.Name, cancellationToken: cancellationToken).ConfigureAwait(false))
                {
                    bits.Set(extent.OffsetBytes, extent.LengthBytes);
                }

                carried.Add(new CarriedBitmap(bitmap.Name, bits, IsRecording: true));
            }
            else if (bitmap.State == BitmapState.Disabled)
            {
                carried.Add(
                    new CarriedBitmap(
                        bitmap.Name, await ReadDisabledAsync(chain, bitmap, cancellationToken).ConfigureAwait(false), IsRecording: false));
            }
            else if (skipsInvalid)
            {
                skipped.Add(verdict);
            }
            else
            {
                throw verdict is { Reason: InvalidReason.Inconsistent, ImageIndex: 0, Remedy: Remedy.Delete }
                    ? new BitmapStateException(bitmap.Name, $"Cannot copy inconsistent bitmap '{bitmap.Name}'")
                    : new BitmapStateException(bitmap.Name, $"Cannot copy: {verdict}", verdict);
            }
        }

        return carried;
    }

    /// <summary>
    /// A disabled bitmap does not record current changes, and the copy is disabled too. Its bits are those of all images that hold it, from
    /// the top down without a gap.
    /// </summary>
    private static async ValueTask<DirtyBitmap> ReadDisabledAsync(ImageChain chain, BitmapInfo bitmap, CancellationToken cancellationToken)
    {
        DirtyBitmap bits = await chain.Layers[0].RequireImage().Bitmaps.LoadAsync(
            bitmap.Name, cancellationToken: cancellationToken).ConfigureAwait(false);
        foreach (ChainLayer layer in chain.Layers.Skip(1))
        {
            if (layer is not Qcow2Layer { Image: var image }
                || !image.Bitmaps.TryGet(bitmap.Name, out BitmapInfo? below)
                || below.State == BitmapState.Inconsistent)
            {
                break;
            }

            bits.Merge(await image.Bitmaps.LoadAsync(bitmap.Name, cancellationToken: cancellationToken).ConfigureAwait(false));
        }

        return bits;
    }
}
