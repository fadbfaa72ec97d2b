using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Operations;

/// <summary>
/// Internal snapshots of an image that read other data once the image stands on something else: where they
/// have holes, what lies below shows through.
/// </summary>
/// <param name="Layer">The image; not a raw one.</param>
public sealed record ChangedSnapshots(ChainLayer Layer)
{
    private const int MaxShown = 20;

    /// <summary>The snapshots.</summary>
    public IReadOnlyList<SnapshotInfo> Snapshots => Layer.RequireImage().Snapshots;

    /// <summary>Says which snapshots of which image these are, and what becomes of them.</summary>
    public override string ToString()
    {
        string names = string.Join(", ", Snapshots.Take(MaxShown).Select(static snapshot => $"'{snapshot.Name}'"));
        string more = Snapshots.Count > MaxShown ? $" and {Snapshots.Count - MaxShown} more" : "";
        return PrintableMessage.Of(
            $"{Layer} has internal snapshots, which read other data afterwards where they have holes: {names}{more}");
    }

    /// <summary>Refuses to change what snapshots read.</summary>
    /// <exception cref="SnapshotStateException">There are such.</exception>
    internal static void RequireNone(IReadOnlyList<ChangedSnapshots> found)
    {
        if (found.Count > 0)
        {
            throw new SnapshotStateException(
                found[0].Snapshots[0].Name,
                $"{found[0]}. Copy out what is needed of them (convert -l) and delete them (snapshot -d) first; nothing was written");
        }
    }
}
