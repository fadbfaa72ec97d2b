using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>Finds the images of a chain that a command line names.</summary>
internal static class ChainPlace
{
    /// <summary>
    /// The index of a backing file by qemu-img's rule: a name means what it would mean inside the image above. If no such image is
    /// there, an image of that name in the current folder is used.
    /// </summary>
    /// <param name="chain">The chain.</param>
    /// <param name="name">The name.</param>
    /// <param name="warning">A warning if a file in the current folder is used; null if the name follows the rule.</param>
    /// <exception cref="IOException">It is none of the chain.</exception>
    public static int FindBase(ImageChain chain, string name, out string? warning)
    {
        warning = null;
        foreach (ChainLayer above in chain.Layers.SkipLast(1))
        {
            // The name may lead to an image further down than the one directly below: then try the next image.
            if (chain.IndexOf(BackingPath.Combine(above.Path, name)) == above.Index + 1)
            {
                return above.Index + 1;
            }
        }

        int found = chain.IndexOf(name) ?? throw IOException.Of($"Did not find '{name}' in the backing chain of '{chain.Layers[0].Path}'");
        warning = $"'{name}' is relative to the current folder; qemu-img looks for it in the folder of the image above it, "
            + $"and does not find it";
        return found;
    }
}
