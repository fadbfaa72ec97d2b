
namespace Qcow2Bitmaps.Operations;

/// <summary>Bitmaps of a whole chain: deleting them, and dropping what is of no use.</summary>
/// <remarks>
/// Images are edited from the top down, each edit atomic. A stop in between leaves bitmaps that are missing in the top image, which nobody
/// takes for valid: the bits below, without those above, would not tell all that changed. Run again, the work goes on where it stopped.
/// </remarks>
public static class ChainBitmaps
{
    /// <summary>Says which images hold a bitmap of some names, and so have to be opened for writing.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="names">The names.</param>
    public static IEnumerable<int> Holders(ImageChain chain, IEnumerable<string> names)
    {
        ArgumentNullException.ThrowIfNull(chain);
        var wanted = names.ToHashSet(StringComparer.Ordinal);
        return chain.Layers
            .Where(layer => layer is Qcow2Layer { Image: var image } && image.Bitmaps.Any(bitmap => wanted.Contains(bitmap.Name)))
            .Select(static layer => layer.Index);
    }

    /// <summary>Removes bitmaps from every image that holds them.</summary>
    /// <param name="chain">The chain; the images that hold them are open for writing.</param>
    /// <param name="names">The bitmaps' names.</param>
    /// <param name="cancellationToken">Ends the work between two images.</param>
    /// <returns>What was removed where.</returns>
    /// <exception cref="BitmapStateException">No image holds a bitmap of one of the names; nothing is removed.</exception>
    /// <exception cref="Qcow2FormatException">A file ends before clusters that its image names; nothing is removed.</exception>
    /// <exception cref="NoSpaceException">An image has no room for its new directory, which is known
    /// beforehand: nothing is removed.</exception>
    /// <exception cref="IOException">A storage failed, or an image is open for reading only.</exception>
    public static async ValueTask<IReadOnlyList<BitmapChange>> DeleteAsync(
        ImageChain chain, IReadOnlyCollection<string> names, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        ArgumentNullException.ThrowIfNull(names);
        foreach (string name in names)
        {
            if (!Holders(chain, [name]).Any())
            {
                throw new BitmapStateException(name, $"Dirty bitmap '{name}' not found in any image of the chain");
            }
        }

        // A file that an edit makes longer does not show any more that something is missing.
        await chain.RequireWholeAsync(withDataFiles: false, cancellationToken).ConfigureAwait(false);
        List<int> holders = [.. Holders(chain, names)];
        await SpaceCheck.RequireAllAsync(
            chain, holders, copy => DeleteAsync(copy, names, cancellationToken).AsTask(), cancellationToken).ConfigureAwait(false);
        var changes = new List<BitmapChange>();
        foreach (int index in holders)
        {
            Qcow2Image image = chain.Layers[index].RequireImage();
            var edit = new BitmapEdit();
            foreach (string name in names.Distinct(StringComparer.Ordinal).Where(name => image.Bitmaps.TryGet(name, out _)))
            {
                edit.Remove(name);
                changes.Add(new BitmapChange(name, BitmapChangeKind.Removed, image.Name));
            }

            await image.Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
        }

        return changes;
    }

    /// <summary>
    /// Finds the bitmaps that are of no use: those that are not valid over the chain, or all but those that are to be kept.
    /// </summary>
    /// <param name="chain">The chain.</param>
    /// <param name="keep">The names that are to be kept, valid or not; null to keep what is valid.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async ValueTask<IReadOnlyList<string>> FindUselessAsync(
        ImageChain chain, IReadOnlyCollection<string>? keep = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        IReadOnlyList<BitmapVerdict> verdicts = await chain.JudgeBitmapsAsync(cancellationToken: cancellationToken).ConfigureAwait(false);
        return [.. verdicts.Where(verdict => keep is null ? !verdict.IsValid : !keep.Contains(verdict.Name, StringComparer.Ordinal))
            .Select(static verdict => verdict.Name)];
    }

    /// <summary>Compares what a chain has with what somebody expects, as oVirt's engine does before a backup.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="expected">The names that should be there.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async ValueTask<Reconciliation> ReconcileAsync(
        ImageChain chain, IReadOnlyCollection<string> expected, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        ArgumentNullException.ThrowIfNull(expected);
        IReadOnlyList<BitmapVerdict> verdicts = await chain.JudgeBitmapsAsync(cancellationToken: cancellationToken).ConfigureAwait(false);
        var found = verdicts.ToDictionary(static verdict => verdict.Name, StringComparer.Ordinal);
        string[] names = [.. expected.Distinct(StringComparer.Ordinal)];
        return new Reconciliation(
            [.. names.Where(name => found.TryGetValue(name, out BitmapVerdict? verdict) && verdict.IsValid)],
            [.. names.Where(name => !found.ContainsKey(name))],
            [.. names.Where(found.ContainsKey).Select(name => found[name]).Where(static verdict => !verdict.IsValid)],
            [.. verdicts.Select(static verdict => verdict.Name).Where(name => !names.Contains(name, StringComparer.Ordinal))]);
    }
}
