namespace Qcow2Bitmaps.Operations;

/// <summary>What a chain has beside what is expected of it.</summary>
/// <param name="Valid">Expected, and valid over the chain.</param>
/// <param name="Missing">Expected, and in no image.</param>
/// <param name="Unusable">Expected, there, and not valid: to be dropped, or repaired by populating.</param>
/// <param name="Surplus">There, and not expected.</param>
public sealed record Reconciliation(
    IReadOnlyList<string> Valid, IReadOnlyList<string> Missing, IReadOnlyList<BitmapVerdict> Unusable, IReadOnlyList<string> Surplus)
{
    /// <summary>Whether all that is expected is there and valid, and nothing else.</summary>
    public bool IsInOrder => Missing.Count == 0 && Unusable.Count == 0 && Surplus.Count == 0;

    /// <summary>What could be dropped: surplus and unusable bitmaps.</summary>
    public IEnumerable<string> ToDrop => Surplus.Concat(Unusable.Select(static verdict => verdict.Name));
}
