using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Images.Editing;

/// <summary>Runs one complete edit of an image's bitmaps: all its steps, or none.</summary>
internal static class BitmapEditing
{
    /// <inheritdoc cref="BitmapCollection.EditAsync(BitmapEdit, CancellationToken)"/>
    /// <param name="image">The image.</param>
    /// <param name="steps">Applies the steps to a plan; called again to find out how much space they need.</param>
    /// <param name="cancellationToken">Cancels the edit while the image is unchanged.</param>
    public static async ValueTask RunAsync(
        ImageHandle image, Func<EditPlan, CancellationToken, ValueTask> steps, CancellationToken cancellationToken)
    {
        using ImageGate.Release alone = await image.EnterAsync(cancellationToken).ConfigureAwait(false);
        image.RequireNotRecorded();
        InterruptedEdit.RequireNone(image);
        await RunAloneAsync(image, steps, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Like <see cref="RunAsync"/>, for a caller that holds the image's gate.</summary>
    public static async ValueTask RunAloneAsync(
        ImageHandle image, Func<EditPlan, CancellationToken, ValueTask> steps, CancellationToken cancellationToken)
    {
        PreparedEdit? prepared = await PreparedEdit.PrepareAsync(image, steps, cancellationToken).ConfigureAwait(false);
        if (prepared is null)
        {
            return;
        }

        try
        {
            await prepared.Transaction.SwitchOrRollBackAsync().ConfigureAwait(false);
            await prepared.ReleaseAsync().ConfigureAwait(false);
        }
        finally
        {
            await image.ReloadAfterSwitchAsync().ConfigureAwait(false);
        }
    }
}
