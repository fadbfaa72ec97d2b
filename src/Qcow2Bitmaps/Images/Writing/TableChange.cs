using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Changes tables that a writer of guest data uses, while there is no such writer.</summary>
internal static class TableChange
{
    /// <summary>Makes a change, and reloads the image afterwards.</summary>
    /// <param name="image">The image.</param>
    /// <param name="change">The change.</param>
    /// <param name="rehearse">The same change on a copy in memory, to find out how much space it needs if there is too little.</param>
    /// <param name="cancellationToken">Ends the wait for others.</param>
    /// <exception cref="InvalidOperationException">A writer of guest data is open on the image.</exception>
    /// <exception cref="NoSpaceException">The storage cannot grow and has too little space.</exception>
    public static async ValueTask RunAsync(
        ImageHandle image, Func<ImageHandle, ValueTask> change, Func<ImageHandle, ValueTask> rehearse, CancellationToken cancellationToken)
    {
        using ImageGate.Release alone = await image.EnterAsync(cancellationToken).ConfigureAwait(false);
        InterruptedEdit.RequireNone(image);
        if (image.Gate.Writer is not null)
        {
            throw new InvalidOperationException("A writer of guest data is open on the image; it is to be disposed first.");
        }

        try
        {
            await change(image).ConfigureAwait(false);
        }
        catch (NoSpaceException e)
        {
            throw await VolumeRoom.DescribeAsync(image, e, rehearse).ConfigureAwait(false);
        }
        finally
        {
            await image.ReloadAfterSwitchAsync().ConfigureAwait(false);
        }
    }
}
