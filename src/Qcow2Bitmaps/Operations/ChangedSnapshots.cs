using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Operations;

/// <summary>
/// Internal snapshots whose content changes when the data below their image change: their unallocated parts show the data below.
/// </summary>
/// <param name="Layer">The image.</param>
/// <param name="Snapshots">Its snapshots.</param>
internal sealed record ChangedSnapshots(ChainLayer Layer, IReadOnlyList<SnapshotInfo> Snapshots)
{
    private const int MaxShown = 20;

    /// <summary>The images among some that have internal snapshots.</summary>
    public static IEnumerable<ChangedSnapshots> Of(IEnumerable<ChainLayer> layers) => layers
        .Where(static layer => layer.Image is { Snapshots.Count: > 0 })
        .Select(static layer => new ChangedSnapshots(layer, layer.Image!.Snapshots));

    /// <summary>Describes which snapshots of which image these are, and what happens to them.</summary>
    public override string ToString()
    {
        string names = string.Join(", ", Snapshots.Take(MaxShown).Select(static snapshot => $"'{snapshot.Name}'"));
        string more = Snapshots.Count > MaxShown ? $" and {Snapshots.Count - MaxShown} more" : "";
        return PrintableMessage.Of(
            $"{Layer} has internal snapshots, which read other data afterwards where they have holes: {names}{more}");
    }

    /// <summary>Throws if snapshots would change content, or go with their image.</summary>
    /// <exception cref="SnapshotStateException">There are such snapshots.</exception>
    public static void RequireNone(IEnumerable<ChangedSnapshots> found, string consequence = "")
    {
        if (found.FirstOrDefault() is { } first)
        {
            throw new SnapshotStateException(first.Snapshots[0].Name, first + consequence) { Remedy = Remedy.DeleteSnapshots };
        }
    }
}
