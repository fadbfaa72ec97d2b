using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>Finds the images of a chain that a command line names.</summary>
internal static class ChainPlace
{
    /// <summary>The index of an image, whatever path leads to it.</summary>
    /// <exception cref="IOException">It is none of the chain.</exception>
    public static int Find(ImageChain chain, string path) => chain.IndexOf(path)
        ?? throw new IOException($"'{PrintableText.Escape(path)}' is no image of the chain of '{PrintableText.Escape(chain.Layers[0].Path)}'");
}
