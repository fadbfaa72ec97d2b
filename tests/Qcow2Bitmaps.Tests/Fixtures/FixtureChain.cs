using System.Collections.ObjectModel;

namespace Qcow2Bitmaps.Tests.Fixtures;

/// <summary>A backing chain of fixtures, top first, and whether its bitmaps are valid over the whole of it.</summary>
public sealed record FixtureChain(string Name, IReadOnlyList<Fixture> Layers, string Description)
{
    /// <summary>
    /// Gets the verdict on each bitmap name found in any layer: <c>valid</c>, <c>missing-in-top</c>, <c>gap</c>,
    /// <c>inconsistent</c> or <c>not-recording</c>.
    /// </summary>
    public IReadOnlyDictionary<string, string> Verdicts { get; init; } = ReadOnlyDictionary<string, string>.Empty;

    /// <inheritdoc/>
    public override string ToString() => Name;
}
