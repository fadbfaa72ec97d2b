namespace Qcow2Bitmaps.Storage;

/// <summary>Looks whether a storage has anything but zeros.</summary>
internal static class NonZeroSearch
{
    private const int PieceBytes = 1 << 20;

    /// <summary>Finds the first byte of a range that is not zero. Holes are skipped; everything past the end counts as zeros.</summary>
    /// <param name="storage">The storage.</param>
    /// <param name="offset">Where the range starts.</param>
    /// <param name="end">Where it ends.</param>
    /// <param name="cancellationToken">Ends the search.</param>
    /// <returns>The byte's offset; null when all are zeros.</returns>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<long?> FindAsync(ImageStorage storage, long offset, long end, CancellationToken cancellationToken)
    {
        end = Math.Min(end, storage.Length);
        var finder = new DataFinder(storage);
        byte[] buffer = offset < end ? new byte[(int)Math.Min(PieceBytes, end - offset)] : [];
        for (long at = offset; at < end;)
        {
            StorageRange data = await finder.FindAsync(at, cancellationToken).ConfigureAwait(false);
            at = data.Offset;
            int length = (int)Math.Clamp(Math.Min(end, data.EndOffset) - at, 0, buffer.Length);
            await storage.ReadZeroFilledAsync(at, buffer.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
            int found = buffer.AsSpan(0, length).IndexOfAnyExcept((byte)0);
            if (found >= 0)
            {
                return at + found;
            }

            at += length;
        }

        return null;
    }
}
