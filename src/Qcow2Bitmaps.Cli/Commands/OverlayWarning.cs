using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>Warns of overlays that are not part of a chain, where qemu-img would go on without a word: its verbs keep their output and exit codes.</summary>
internal static class OverlayWarning
{
    public static async ValueTask WriteAsync(ImageChain chain, IEnumerable<int> layers, string effect, MessageWriter messages, CancellationToken cancellationToken)
    {
        try
        {
            foreach (FoundOverlay overlay in await ChainOverlays.FindAsync(chain, layers, cancellationToken))
            {
                messages.Warn(
                    $"'{overlay.Path}' has {chain.Layers[overlay.BackingLayer]} as its backing file and is not part of the chain: it {effect}");
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            messages.Warn($"Whether other images have one of the chain as their backing file is not known: {e}");
        }
    }
}
