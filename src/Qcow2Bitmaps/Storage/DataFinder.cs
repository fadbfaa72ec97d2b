namespace Qcow2Bitmaps.Storage;

/// <summary>Finds data in a storage that does not change, and remembers the last answer. For one caller at a time.</summary>
internal sealed class DataFinder(ImageStorage storage)
{
    private long _asked;
    // Nothing is known at first.
    private StorageRange _found;

    /// <summary>Finds the first data at or after an offset.</summary>
    /// <param name="offset">Where to start, in bytes, not negative.</param>
    /// <param name="cancellationToken">Ends the search.</param>
    /// <returns>The data from there on; without any, a range past everything that a storage can hold.</returns>
    /// <inheritdoc cref="ImageStorage.FindDataAsync" path="/exception"/>
    public ValueTask<StorageRange> FindAsync(long offset, CancellationToken cancellationToken) =>
        Knows(offset) ? ValueTask.FromResult(Known(offset)) : AskAsync(offset, cancellationToken);

    private async ValueTask<StorageRange> AskAsync(long offset, CancellationToken cancellationToken)
    {
        _found = await storage.FindDataAsync(offset, cancellationToken).ConfigureAwait(false)
            ?? new StorageRange(long.MaxValue, long.MaxValue);
        _asked = offset;
        return Known(offset);
    }

    private bool Knows(long offset) => offset >= _asked && offset < _found.EndOffset;

    private StorageRange Known(long offset) => _found with { Offset = Math.Max(offset, _found.Offset) };
}
