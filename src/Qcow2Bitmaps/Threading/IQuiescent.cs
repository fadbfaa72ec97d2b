namespace Qcow2Bitmaps.Threading;

/// <summary>A component that buffers changes in memory, and that can be paused.</summary>
internal interface IQuiescent
{
    /// <summary>Waits until no operation is running, writes all buffered changes, and pauses.</summary>
    /// <param name="cancellationToken">Cancels the wait, not the writing; the component is not paused then.</param>
    /// <returns>To be disposed when work may go on; again without effect. The image's metadata may have changed by then.</returns>
    /// <exception cref="IOException">The writing failed; the component is not paused then.</exception>
    ValueTask<IDisposable> HaltAsync(CancellationToken cancellationToken);
}
