namespace Qcow2Bitmaps.Tests.Support;

/// <summary>
/// Stops a process that writes to several storages: from one write on, counted over all of them, nothing is written any more.
/// </summary>
internal sealed class Fuse(int failingWrite)
{
    private int _writes;

    /// <summary>Whether it has stopped.</summary>
    public bool IsBlown { get; private set; }

    public void CountWrite()
    {
        _writes++;
        IsBlown |= _writes == failingWrite;
        ThrowIfBlown();
    }

    public void ThrowIfBlown()
    {
        if (IsBlown)
        {
            throw new IOException("Input/output error", 5);
        }
    }
}
