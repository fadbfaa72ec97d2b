namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>What a chain has beside what is expected of it, as oVirt's engine compares before a backup.</summary>
/// <param name="Valid">Expected, and valid over the chain.</param>
/// <param name="Missing">Expected, and in no image.</param>
/// <param name="Unusable">Expected, there, and not valid: to be dropped, or repaired by populating.</param>
/// <param name="Surplus">There, and not expected.</param>
internal sealed record Reconciliation(
    IReadOnlyList<string> Valid, IReadOnlyList<string> Missing, IReadOnlyList<BitmapVerdict> Unusable, IReadOnlyList<string> Surplus)
{
    /// <summary>What could be dropped: surplus and unusable bitmaps.</summary>
    public IEnumerable<string> ToDrop => Surplus.Concat(Unusable.Select(static verdict => verdict.Name));

    /// <summary>Compares the names that should be there with all that are.</summary>
    public static Reconciliation Of(IEnumerable<string> expected, IReadOnlyList<BitmapVerdict> verdicts)
    {
        var found = verdicts.ToDictionary(static verdict => verdict.Name, StringComparer.Ordinal);
        string[] names = [.. expected.Distinct(StringComparer.Ordinal)];
        return new Reconciliation(
            [.. names.Where(name => found.TryGetValue(name, out BitmapVerdict? verdict) && verdict.IsValid)],
            [.. names.Where(name => !found.ContainsKey(name))],
            [.. names.Where(found.ContainsKey).Select(name => found[name]).Where(static verdict => !verdict.IsValid)],
            [.. found.Keys.Where(name => !names.Contains(name, StringComparer.Ordinal))]);
    }
}
