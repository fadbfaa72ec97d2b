namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Somebody who keeps what is to be written in memory, and can be made to stand still.</summary>
internal interface IQuiescent
{
    /// <summary>Waits until nothing is under way, and writes all that is in memory.</summary>
    /// <exception cref="IOException">That failed; then nothing stands still.</exception>
    Task HaltAsync();

    /// <summary>Goes on. The image's metadata may have changed.</summary>
    void Resume();
}
