using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Operations;

/// <summary>
/// Internal snapshots whose content changes when the data below their image change: their unallocated parts show the data below.
/// </summary>
/// <param name="Layer">The image; not a raw one.</param>
internal sealed record ChangedSnapshots(Qcow2Layer Layer)
{
    private const int MaxShown = 20;

    /// <summary>The images among some that have internal snapshots.</summary>
    public static IEnumerable<ChangedSnapshots> Of(IEnumerable<ChainLayer> layers) => layers.OfType<Qcow2Layer>()
        .Where(static layer => layer.Image.Snapshots.Count > 0)
        .Select(static layer => new ChangedSnapshots(layer));

    /// <summary>Describes which snapshots of which image these are, and what happens to them.</summary>
    public override string ToString()
    {
        IReadOnlyList<SnapshotInfo> snapshots = Layer.Image.Snapshots;
        string names = string.Join(", ", snapshots.Take(MaxShown).Select(static snapshot => $"'{snapshot.Name}'"));
        string more = snapshots.Count > MaxShown ? $" and {snapshots.Count - MaxShown} more" : "";
        return PrintableMessage.Of(
            $"{Layer} has internal snapshots, which read other data afterwards where they have holes: {names}{more}");
    }

    /// <summary>Throws if snapshots would change content, or go with their image.</summary>
    /// <exception cref="SnapshotStateException">There are such snapshots.</exception>
    public static void RequireNone(IEnumerable<ChangedSnapshots> found, string consequence = "")
    {
        if (found.FirstOrDefault() is { } first)
        {
            throw new SnapshotStateException(first.Layer.Image.Snapshots[0].Name, first + consequence) { Remedy = Remedy.DeleteSnapshots };
        }
    }
}
