using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Chains;

/// <summary>Serves a chain's images from memory: the image at depth n is the n-th of a list.</summary>
internal sealed class MemoryChain(params byte[][] images) : IBackingResolver
{
    public List<BackingReference> Asked { get; } = [];

    public static Task<ImageChain> OpenAsync(params byte[][] images) => new MemoryChain(images).OpenAsync(new ChainOpenOptions());

    public Task<ImageChain> OpenAsync(ChainOpenOptions options) => ImageChain.OpenAsync(
        MemoryStorage.ReadOnly(images[0], "image0"), options with { Resolver = this }, TestContext.Current.CancellationToken);

    public Task<ImageStorage> OpenAsync(
        BackingReference reference, ImageLock imageLock, CancellationToken cancellationToken = default)
    {
        Asked.Add(reference);
        return Task.FromResult<ImageStorage>(MemoryStorage.ReadOnly(images[reference.Depth], $"image{reference.Depth}"));
    }
}
