using Qcow2Bitmaps.Images.Naming;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>What must be known of a backing file before an overlay on it is created.</summary>
/// <param name="Format">The backing file's format: <c>qcow2</c> or <c>raw</c>.</param>
/// <param name="VirtualSizeBytes">The size of its disk in bytes: also the overlay's, unless the caller requests another.</param>
public sealed record OverlayBase(string Format, long VirtualSizeBytes)
{
    /// <summary>
    /// The backing file's name as the overlay should store it: unchanged, unless it would lead to another file from the overlay's real
    /// location. Null if nothing was opened.
    /// </summary>
    public string? BackingFile { get; init; }

    /// <summary>Inspects the backing file and all files below it. Nothing stays open.</summary>
    /// <param name="overlayPath">The overlay to be created; the backing file's name is relative to it.</param>
    /// <param name="backingFile">The backing file's name, as it should be stored. It may be in any folder, since the
    /// caller chose it.</param>
    /// <param name="options">How the chain is opened, from the backing file down: its format, its locks, the
    /// folders where files below it may be.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>What was found.</returns>
    /// <exception cref="Qcow2UnsupportedException">The name or one below it is refused; the overlay would be part of its own chain; or the
    /// chain would be too deep.</exception>
    /// <exception cref="Qcow2FormatException">An image of the chain is broken.</exception>
    /// <exception cref="IOException">A file cannot be opened or read.</exception>
    public static async Task<OverlayBase> InspectAsync(
        string overlayPath, string backingFile, ChainOpenOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(overlayPath);
        ArgumentNullException.ThrowIfNull(backingFile);
        options ??= ChainOpenOptions.Default;
        StoredName.RequireFile(backingFile);
        var chain = await ImageChain.OpenAsync(
            BackingPath.Combine(overlayPath, backingFile), options, cancellationToken).ConfigureAwait(false);
        await using (chain.ConfigureAwait(false))
        {
            if (chain.Layers.Count >= options.Image.Limits.MaxChainDepth)
            {
                throw new Qcow2UnsupportedException(
                    UnsupportedReason.ChainTooDeep, $"The chain would have more than {options.Image.Limits.MaxChainDepth} images");
            }

            if (FileStorage.IdentityOf(overlayPath) is { } identity
                && chain.Layers.FirstOrDefault(layer => layer.Storage.Identity == identity) is { } same)
            {
                throw new Qcow2UnsupportedException(
                    UnsupportedReason.ChainLoop,
                    $"'{overlayPath}' would be its own backing file: it is the same file as {same} of the chain below it");
            }

            return new OverlayBase(chain.Layers[0].Format, chain.Layers[0].VirtualSizeBytes)
            {
                BackingFile = chain.Layers[0].NameIn(overlayPath, backingFile),
            };
        }
    }
}
