using System.Text.RegularExpressions;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>
/// <c>ARCHITECTURE.md</c> is true: layers point one way, a room is a folder and a namespace, and each one is in the table.
/// </summary>
public sealed partial class ArchitectureTests
{
    private const string Library = "Qcow2Bitmaps";

    private static readonly string s_root = Path.GetDirectoryName(FixtureFiles.Root)!;

    // What a layer may use beside itself and the exceptions in the root.
    private static readonly Dictionary<string, string[]> s_layers = new(StringComparer.Ordinal)
    {
        [""] = ["Format"],
        ["Format"] = [],
        ["Compression"] = [],
        ["Storage"] = ["Format"],
        ["Bitmaps"] = ["Format"],
        ["Disks"] = ["Format", "Storage"],
        ["Images"] = ["Format", "Compression", "Storage", "Bitmaps", "Disks"],
        ["Chains"] = ["Format", "Storage", "Bitmaps", "Disks", "Images"],
        ["Copying"] = ["Format", "Storage", "Bitmaps", "Disks", "Images", "Chains"],
        ["Operations"] = ["Format", "Storage", "Bitmaps", "Disks", "Images", "Chains", "Copying"],
        ["Backups"] = ["Format", "Storage", "Bitmaps", "Disks", "Images", "Chains", "Copying", "Operations"],
    };

    [Fact]
    public void LayersPointOneWay()
    {
        Assert.Equal(
            s_layers.Keys.Order(StringComparer.Ordinal),
            Sources().Select(static source => LayerOf(source.Room)).Distinct().Order(StringComparer.Ordinal));
        string[] wrong = [..
            from source in Sources()
            let layer = LayerOf(source.Room)
            from used in LayersUsedBy(source.Text)
            where used.Length > 0 && used != layer && !s_layers[layer].Contains(used)
            select $"{source.Path} uses {used}"];
        Assert.Empty(wrong);
    }

    [Fact]
    public void StorageKnowsOnlyTextsOfFormat()
    {
        string[] types = [.. Directory.GetFiles(Path.Combine(s_root, "src", Library, "Format"), "*.cs")
            .Select(static path => Path.GetFileNameWithoutExtension(path).Split('.')[0])];
        string[] used = [..
            from source in Sources()
            where source.Room == "Storage"
            from Match word in Words().Matches(Comments().Replace(source.Text, ""))
            where types.Contains(word.Value)
            select word.Value];
        Assert.Equal(["ImageText", "PrintableMessage"], used.Distinct().Order(StringComparer.Ordinal));
    }

    [Fact]
    public void ARoomIsAFolderAndANamespace() => Assert.All(Sources(), static source =>
        Assert.Contains(
            $"namespace {(source.Room.Length == 0 ? Library : $"{Library}.{source.Room.Replace('/', '.')}")};", source.Text,
            StringComparison.Ordinal));

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
                .Where(file => !places.Any(place => new FileInfo(Path.Combine(place, file)).Exists))];
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
            select (Path.GetDirectoryName(relative)!.Replace('\\', '/'), relative, File.ReadAllText(path));
    }

    private static string LayerOf(string room) => room.Split('/')[0];

    // A namespace beside one's own needs no using: Chains.ImageChain is found from Operations.
    private static IEnumerable<string> LayersUsedBy(string text) =>
        Usings().Matches(text).Select(static match => match.Groups["layer"].Value)
        .Concat(
            Names().Matches(Comments().Replace(text, "")).Select(static match => match.Groups["layer"].Value).Where(s_layers.ContainsKey))
        .Distinct(StringComparer.Ordinal);

    [GeneratedRegex(
        @"^(?:global )?using (?:static |\w+ = )?Qcow2Bitmaps\.?(?<layer>\w*)[\w.]*;",
        RegexOptions.Multiline | RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, Patience.PatternMilliseconds)]
    private static partial Regex Usings();

    [GeneratedRegex(
        @"(?<![\w.])(?:Qcow2Bitmaps\.)?(?<layer>[A-Z]\w+)\.[A-Z]\w*[\s({<?;,)]",
        RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, Patience.PatternMilliseconds)]
    private static partial Regex Names();

    [GeneratedRegex(@"//.*", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, Patience.PatternMilliseconds)]
    private static partial Regex Comments();

    [GeneratedRegex(@"\w+", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, Patience.PatternMilliseconds)]
    private static partial Regex Words();

    [GeneratedRegex(@"[\w.]+\.cs", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, Patience.PatternMilliseconds)]
    private static partial Regex FileNames();
}
