using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>Warns of overlays that are not part of a chain. qemu-img gives no message; its commands keep their exit codes.</summary>
internal static class OverlayWarning
{
    public static async ValueTask WriteAsync(
        Func<Task<IReadOnlyList<FoundOverlay>>> find, string effect, MessageWriter messages, CancellationToken cancellationToken,
        long longerThanBytes = -1)
    {
        try
        {
            foreach (FoundOverlay overlay in await find())
            {
                if (longerThanBytes >= 0 && await SizeOfAsync(overlay.Path, cancellationToken) <= longerThanBytes)
                {
                    continue;
                }

                messages.Warn(
                    $"'{overlay.Path}' has {overlay.Backing} as its backing file and is not part of the chain: "
                    + $"it {effect}");
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            messages.Warn($"It is unknown whether other images have one of the chain as their backing file: {RemedyText.Describe(e)}");
        }
    }

    /// <summary>Warns, before an image is resized, of overlays whose disk reaches into the part whose content changes.</summary>
    public static async ValueTask OfResizeAsync(
        string path, string format, long unchangedBytes, MessageWriter messages, CancellationToken cancellationToken)
    {
        var options = new ChainOpenOptions
        {
            TopFormat = format,
            FollowBacking = false,
            Image = new Qcow2OpenOptions { Lock = ImageLock.None },
        };
        await using ImageChain chain = await ImageChain.OpenAsync(path, options, cancellationToken);
        await WriteAsync(
            () => FoundOverlay.FindAsync(chain, [0], cancellationToken), "may show something else afterwards", messages, cancellationToken,
            unchangedBytes);
    }

    private static async ValueTask<long> SizeOfAsync(string path, CancellationToken cancellationToken)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(
            path, options: new Qcow2OpenOptions { Lock = ImageLock.None }, cancellationToken: cancellationToken);
        return image.VirtualSizeBytes;
    }
}
