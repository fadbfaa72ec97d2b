namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>All hostile images, by name.</summary>
internal static class HostileCases
{
    public static IReadOnlyDictionary<string, HostileCase> ByName { get; } = new[]
    {
        HostileHeaders.All(), HostileExtensions.All(), HostileSnapshots.All(), HostileBitmaps.All(),
    }.SelectMany(static cases => cases).ToDictionary(static hostile => hostile.Name);

    public static IEnumerable<TheoryDataRow<string>> Names => ByName.Keys.Select(static name => new TheoryDataRow<string>(name));

    public static IEnumerable<TheoryDataRow<string, bool>> NamesAndLeniency => ByName.Keys.SelectMany(
        static _ => new[] { false, true },
        static (name, isLenient) => new TheoryDataRow<string, bool>(name, isLenient));
}
