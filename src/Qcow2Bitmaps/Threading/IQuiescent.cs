namespace Qcow2Bitmaps.Threading;

/// <summary>Somebody who keeps what is to be written in memory, and can be made to stand still.</summary>
internal interface IQuiescent
{
    /// <summary>Waits until nothing is under way, and writes all that is in memory.</summary>
    /// <param name="cancellationToken">Ends the wait, not the writing; nothing stands still then.</param>
    /// <returns>To be disposed when work may go on; again without effect. The image's metadata may have changed by then.</returns>
    /// <exception cref="IOException">The writing failed; then nothing stands still.</exception>
    ValueTask<IDisposable> HaltAsync(CancellationToken cancellationToken);
}
