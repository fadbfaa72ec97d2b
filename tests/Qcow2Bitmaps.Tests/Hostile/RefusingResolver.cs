using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Opens nothing and remembers what it was asked for.</summary>
internal sealed class RefusingResolver : IBackingResolver
{
    public List<BackingReference> Asked { get; } = [];

    public Task<ImageStorage> OpenAsync(
        BackingReference reference, ImageLock imageLock, CancellationToken cancellationToken = default)
    {
        Asked.Add(reference);
        throw new Qcow2UnsupportedException(UnsupportedReason.BackingProtocol, "Refused by the test");
    }
}
