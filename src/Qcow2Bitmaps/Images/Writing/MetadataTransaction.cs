using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>One change of an image's metadata: new structures are written to unused space and made durable, then a switch of the first
/// cluster puts them into use. What they replace is freed afterwards.</summary>
internal sealed class MetadataTransaction
{
    private readonly ImageStorage _storage;
    private readonly Func<ValueTask> _rollBack;

    private MetadataTransaction(ImageStorage storage, Func<ValueTask> rollBack)
    {
        _storage = storage;
        _rollBack = rollBack;
    }

    /// <summary>The switch.</summary>
    public SwitchPlan Plan { get; private set; } = new([]);

    /// <summary>Prepares a change, or rolls the preparation back.</summary>
    /// <param name="storage">The image.</param>
    /// <param name="prepare">Writes the new structures, makes them durable, and plans the switch.</param>
    /// <param name="rollBack">Rolls back what was written.</param>
    public static async ValueTask<MetadataTransaction> PrepareAsync(
        ImageStorage storage, Func<ValueTask<SwitchPlan>> prepare, Func<ValueTask> rollBack)
    {
        var transaction = new MetadataTransaction(storage, rollBack);
        try
        {
            transaction.Plan = await prepare().ConfigureAwait(false);
            return transaction;
        }
        catch
        {
            await transaction.RollBackAfterErrorAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Switches the image. For a change that a journal may finish.</summary>
    /// <exception cref="IOException">The storage failed; the image has its old or its new state.</exception>
    public ValueTask SwitchAsync() => Plan.ApplyAsync(_storage);

    /// <summary>Switches the image, or rolls everything back if that fails.</summary>
    /// <exception cref="UnknownOutcomeException">The storage failed permanently: the image has its old or its new state.</exception>
    /// <exception cref="IOException">The storage failed; the image is unchanged.</exception>
    public async ValueTask SwitchOrRollBackAsync()
    {
        try
        {
            await Plan.ApplyOrRevertAsync(_storage).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not UnknownOutcomeException)
        {
            await RollBackAfterErrorAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Rolls back the preparation.</summary>
    /// <exception cref="IOException">The storage failed; the prepared structures are leaked.</exception>
    public ValueTask RollBackAsync() => _rollBack();

    private async ValueTask RollBackAfterErrorAsync()
    {
        try
        {
            await RollBackAsync().ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // The storage failed permanently: what was written is leaked. The error that led here is the one to report.
        }
    }
}
