using System.Text.RegularExpressions;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>
/// <c>ARCHITECTURE.md</c> is true: each room uses those that the page says, without a circle, and each one is in the table.
/// </summary>
public sealed partial class ArchitectureTests
{
    private const string Library = "Qcow2Bitmaps";

    private static readonly string s_root = Path.GetDirectoryName(FixtureFiles.Root)!;
    private static readonly Lazy<IReadOnlyList<RoomUse>> s_uses =
        new(static () => RoomUses.Find(Sources().Select(static source => (source.Path, source.Text))));

    [Fact]
    public void RoomsUseWhatThePageSaysAndNotOneAnother() =>
        Assert.Empty(RoomRules.Faults(s_uses.Value, RoomRules.Read(File.ReadAllText(Path.Combine(s_root, "ARCHITECTURE.md")))));

    [Fact]
    public void StorageKnowsOnlyTextsOfFormat() => Assert.Equal(
        ["ImageText", "PrintableErrors", "PrintableMessage"],
        s_uses.Value
            .Where(static use => use is { From: "Storage", To: "Format" })
            .Select(static use => use.Type)
            .Distinct()
            .Order(StringComparer.Ordinal));

    /// <summary>Public types may have the namespace of a room around their own: who uses the library does not see all rooms.</summary>
    [Fact]
    public void ARoomIsAFolderAndANamespace() => Assert.All(Sources(), static source =>
    {
        string room = source.Room.Length == 0 ? Library : $"{Library}.{source.Room.Replace('/', '.')}";
        string stated = Namespaces().Match(source.Text).Groups["name"].Value;
        bool isAround = room.StartsWith(stated + ".", StringComparison.Ordinal);
        Assert.True(stated == room || (isAround && PublicTypes().IsMatch(source.Text)), $"{source.Path}: {stated}");
    });

    [Fact]
    public void TheTableHasEachRoomAndNamesFilesThatAreThere()
    {
        string[] rows = [.. File.ReadLines(Path.Combine(s_root, "ARCHITECTURE.md"))
            .Where(static line => line.StartsWith("| `", StringComparison.Ordinal))];
        Dictionary<string, string> rooms = rows.ToDictionary(
            static row => row.Split('`')[1].TrimEnd('/'), static row => row.Split('|')[3], StringComparer.Ordinal);
        Assert.Equal(
            Sources().Select(static source => source.Room).Where(static room => room.Length > 0).Distinct().Order(StringComparer.Ordinal),
            rooms.Keys.Order(StringComparer.Ordinal));
        foreach ((string room, string files) in rooms)
        {
            // A public face of a room may stand in one around it.
            string[] places = [.. room.Split('/').Select((_, i) => Path.Combine([s_root, "src", Library, .. room.Split('/').Take(i + 1)]))];
            string[] missing = [.. FileNames().Matches(files)
                .Select(static match => match.Value)
                .Where(file => !places.Any(place => Path.Exists(Path.Combine(place, file))))];
            Assert.True(missing.Length == 0, $"{room}: {string.Join(' ', missing)}");
        }
    }

    private static IEnumerable<(string Room, string Path, string Text)> Sources()
    {
        string folder = Path.Combine(s_root, "src", Library);
        return
            from path in Directory.EnumerateFiles(folder, "*.cs", SearchOption.AllDirectories)
            let relative = Path.GetRelativePath(folder, path).Replace('\\', '/')
            where !relative.StartsWith("obj/", StringComparison.Ordinal) && !relative.StartsWith("bin/", StringComparison.Ordinal)
            select (RoomUses.RoomOf(relative), relative, File.ReadAllText(path));
    }

    [GeneratedRegex(
        @"^namespace (?<name>[\w.]+);",
        RegexOptions.Multiline | RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, Patience.PatternMilliseconds)]
    private static partial Regex Namespaces();

    [GeneratedRegex(
        @"^public ", RegexOptions.Multiline | RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, Patience.PatternMilliseconds)]
    private static partial Regex PublicTypes();

    [GeneratedRegex(@"[\w.]+\.cs", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, Patience.PatternMilliseconds)]
    private static partial Regex FileNames();
}
