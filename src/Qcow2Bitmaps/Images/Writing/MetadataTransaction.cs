using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>One change of an image's metadata: what is new is written where nobody looks and made durable, then a switch of the first
/// cluster makes it count. What it replaces is given back afterwards.</summary>
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

    /// <summary>Prepares a change, or takes back what was prepared of it.</summary>
    /// <param name="storage">The image.</param>
    /// <param name="prepare">Writes what is new, makes it durable, and plans the switch.</param>
    /// <param name="rollBack">Takes back what was written.</param>
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
    /// <exception cref="IOException">The storage failed; the image is as before or as after.</exception>
    public ValueTask SwitchAsync() => Plan.ApplyAsync(_storage);

    /// <summary>Switches the image, or takes all back where that fails.</summary>
    /// <exception cref="UnknownOutcomeException">The storage failed for good: the image is as before or as after.</exception>
    /// <exception cref="IOException">The storage failed; the image is as before.</exception>
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

    /// <summary>Takes back what was prepared.</summary>
    /// <exception cref="IOException">The storage failed; what was prepared takes space that nothing names.</exception>
    public ValueTask RollBackAsync() => _rollBack();

    private async ValueTask RollBackAfterErrorAsync()
    {
        try
        {
            await RollBackAsync().ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // The storage fails for good: what was written stays where nothing names it. The error that led here is the one to report.
        }
    }
}
