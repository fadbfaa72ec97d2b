using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Images.Writing;

namespace Qcow2Bitmaps.Images.Guest.Writing;

/// <summary>Clears autoclear bits that are not known here, as the specification asks of who writes an image. Spec: "autoclear_features".</summary>
internal static class AutoclearBits
{
    /// <summary>Clears them, for who holds <see cref="ImageHandle.Gate"/>: one write inside a sector, and a flush.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask ClearUnknownAsync(ImageHandle image, CancellationToken cancellationToken)
    {
        if (image.Header.Version < 3 || (image.Header.AutoclearFeatures & ~HeaderSwitch.KnownAutoclear) == AutoclearFeatures.None)
        {
            return;
        }

        var bits = new byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(bits, (ulong)(image.Header.AutoclearFeatures & HeaderSwitch.KnownAutoclear));
        await image.Storage.WriteAsync(HeaderLayout.AutoclearFeatures, bits, cancellationToken).ConfigureAwait(false);
        await image.Storage.FlushAsync(cancellationToken).ConfigureAwait(false);
        await image.ReloadAsync().ConfigureAwait(false);
    }
}
